//! Tables, as text and as Markdown, and how numbers are written in them.

/// A table; the first column is text, the others are numbers.
#[derive(Debug)]
pub struct Table {
    /// The name of its files.
    pub name: String,
    /// What the columns are.
    pub head: Vec<String>,
    /// As many cells in each as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// For a terminal.
    pub fn text(&self) -> String {
        let width = |at: usize| {
            let lines = std::iter::once(&self.head).chain(&self.rows);
            lines
                .map(|line| line[at].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let mut line = String::new();
            for (at, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                line += &match at {
                    0 => format!("{cell:<width$}"),
                    _ => format!("  {cell:>width$}"),
                };
            }
            line.trim_end().to_owned() + "\n"
        };
        std::iter::once(&self.head)
            .chain(&self.rows)
            .map(line)
            .collect()
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let line = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&self.head);
        text += "|---|";
        text += &"--:|".repeat(self.head.len().saturating_sub(1));
        text += "\n";
        text.extend(self.rows.iter().map(line));
        text
    }
}

/// A number of instructions, with a comma between thousands.
pub fn number(value: f64) -> String {
    let rounded = value.round();
    let digits = format!("{:.0}", rounded.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if rounded < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

/// The same with its sign; nothing has none.
pub fn signed(value: f64) -> String {
    match number(value) {
        text if value.round() > 0.0 => format!("+{text}"),
        text => text,
    }
}

/// A share in percent, with its sign.
pub fn percent(value: f64) -> String {
    match format!("{value:+.2} %") {
        text if text == "+0.00 %" || text == "-0.00 %" => "0.00 %".to_owned(),
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_commas_and_signs() {
        assert_eq!(number(999.4), "999");
        assert_eq!(number(1_234_567.0), "1,234,567");
        assert_eq!(number(-1_000.0), "-1,000");
        assert_eq!(signed(12_345.0), "+12,345");
        assert_eq!(signed(-0.3), "0");
        assert_eq!(percent(0.256), "+0.26 %");
        assert_eq!(percent(-0.001), "0.00 %");
    }

    #[test]
    fn a_table_is_text_and_markdown() {
        let cells = |cells: &[&str]| cells.iter().map(|cell| cell.to_string()).collect();
        let table = Table {
            name: "x".into(),
            head: cells(&["row", "cost"]),
            rows: vec![cells(&["read", "1,000"]), cells(&["stat", "7"])],
        };
        assert_eq!(table.text(), "row    cost\nread  1,000\nstat      7\n");
        assert_eq!(
            table.markdown(),
            "| row | cost |\n|---|--:|\n| read | 1,000 |\n| stat | 7 |\n"
        );
    }
}
