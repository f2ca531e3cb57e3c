//! The probe as interpreter of a script.

use std::io;

/// The words to act on: `words`, or, if they are those that a loader is started with on
/// a script, what standard input says and then the parameters.
pub fn of(words: &[String]) -> io::Result<Vec<String>> {
    let (is_unsafe, rest) = match words {
        [first, rest @ ..] if first == "--unsafe" => (true, rest),
        words => (false, words),
    };
    let [dashes, dash, parameters @ ..] = rest else {
        return Ok(words.to_vec());
    };
    if dashes != "--" || dash != "-" {
        return Ok(words.to_vec());
    }
    let text = io::read_to_string(io::stdin())?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let script = lines.flat_map(str::split_whitespace).map(str::to_owned);
    let warning = is_unsafe.then(|| ["say".to_owned(), "unsafe".to_owned()]);
    let warning = warning.into_iter().flatten();
    Ok(warning.chain(script).chain(parameters.to_vec()).collect())
}
