//! Numbers by HTTP on a unix socket, for who scrapes them.
//!
//! One client at a time, one request each (RFC 9112 with `Connection: close`): a scraper
//! comes every few seconds, and nobody else has the socket.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::advice::{Advise, advised};
use crate::output::{escaped, warn};

/// How long a client has for its request, and for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest request, in bytes, and number of its headers.
const MAX_REQUEST: usize = 8192;
const MAX_HEADERS: usize = 64;
/// What a scraper takes for OpenMetrics (its specification, "Protocol Negotiation").
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers `GET /metrics` with what `numbers` says at that moment, until the process
/// is killed.
///
/// # Errors
/// If the socket can't be made, or another serves there.
pub fn serve(
    socket: &Path,
    numbers: impl Fn() -> anyhow::Result<String>,
) -> anyhow::Result<Infallible> {
    let listener = listen(socket)?;
    loop {
        let (client, _) = listener.accept().context("waiting for a client")?;
        // Who hangs up, or asks for something else, is no reason to end.
        if let Err(error) = answer(client, PATIENCE, &numbers) {
            warn(&format!("a client got no numbers: {error:#}"));
        }
    }
}

/// Takes the place of a socket that was left behind, and of nothing else.
fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    let listening = || format!("listening on {}", escaped(socket));
    match UnixListener::bind(socket) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        bound => return bound.with_context(listening),
    }
    let metadata = fs::symlink_metadata(socket).with_context(listening)?;
    if !metadata.file_type().is_socket() {
        return Err(advised(
            anyhow!("{}: it is no socket", listening()),
            "name a file that does not exist",
        ));
    }
    if UnixStream::connect(socket).is_ok() {
        return Err(anyhow!("{}: another process does", listening()))
            .advise(|| format!("see who: ss -xlp src {}", escaped(socket)));
    }
    fs::remove_file(socket).with_context(listening)?;
    UnixListener::bind(socket).with_context(listening)
}

fn answer(
    mut client: UnixStream,
    patience: Duration,
    numbers: impl Fn() -> anyhow::Result<String>,
) -> anyhow::Result<()> {
    client
        .set_write_timeout(Some(patience))
        .context("limiting the time for an answer")?;
    let wanted = read_request(&mut client, patience)?;
    let (status, kind, text) = match wanted {
        Wanted::Metrics => match numbers() {
            Ok(text) => ("200 OK", OPENMETRICS, text),
            Err(error) => (
                "500 Internal Server Error",
                PLAIN,
                format!("error: {error:#}\n"),
            ),
        },
        Wanted::Other => ("404 Not Found", PLAIN, "error: see /metrics\n".to_owned()),
        Wanted::OtherMethod => (
            "405 Method Not Allowed",
            PLAIN,
            "error: only GET is answered\n".to_owned(),
        ),
        Wanted::Nonsense => (
            "400 Bad Request",
            PLAIN,
            "error: that is no HTTP request\n".to_owned(),
        ),
    };
    let mut response = String::new();
    write!(
        response,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
    .expect("writing to a string");
    client
        .write_all(response.as_bytes())
        .context("sending the answer")
}

/// What a client asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Metrics,
    Other,
    OtherMethod,
    Nonsense,
}

/// Reads a request without a body.
fn read_request(client: &mut UnixStream, patience: Duration) -> anyhow::Result<Wanted> {
    let end = Instant::now() + patience;
    let mut request = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(anyhow!("its request took longer than {patience:?}"));
        }
        client
            .set_read_timeout(Some(left))
            .context("limiting the time for a request")?;
        let mut bytes = [0; 1024];
        let count = match client.read(&mut bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("reading its request"),
        };
        request.extend_from_slice(&bytes[..count]);
        match parse(&request) {
            Some(wanted) => return Ok(wanted),
            None if count == 0 => return Err(anyhow!("it hung up before its request ended")),
            None if request.len() > MAX_REQUEST => return Ok(Wanted::Nonsense),
            None => {}
        }
    }
}

/// Nothing if more is to come.
fn parse(request: &[u8]) -> Option<Wanted> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(request) {
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some(Wanted::Nonsense),
        Ok(httparse::Status::Complete(_)) => {
            let path = parsed
                .path
                .map(|path| path.split('?').next().unwrap_or(path));
            Some(match (parsed.method, path) {
                (Some("GET"), Some("/metrics")) => Wanted::Metrics,
                (Some("GET"), _) => Wanted::Other,
                _ => Wanted::OtherMethod,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::thread;

    /// What a client gets that says this and then waits.
    fn ask(request: &[u8]) -> String {
        let (mut client, server) = UnixStream::pair().unwrap();
        let asked = thread::spawn(move || {
            answer(server, Duration::from_millis(500), || Ok("# EOF\n".into()))
        });
        client.write_all(request).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let _ = asked.join().unwrap();
        answer
    }

    #[test]
    fn numbers_are_served_as_openmetrics() {
        let answer = ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: application/openmetrics-text; version=1.0.0"));
        assert!(head.contains("Content-Length: 6"), "{head}");
        assert_eq!(body, "# EOF\n");
    }

    #[test]
    fn another_request_is_told_so() {
        let long = [b"GET /".as_slice(), &[b'a'; MAX_REQUEST]].concat();
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"GET /metrics?a=b HTTP/1.0\r\n\r\n", "200"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"\x16\x03\x01\x00", "400"),
            (&long, "400"),
        ] {
            let answer = ask(request);
            let wanted = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&wanted), "{request:?}: {answer}");
        }
    }

    #[test]
    fn who_says_nothing_gets_nothing_and_holds_nobody_up() {
        assert_eq!(ask(b"GET /metrics HTTP/1.1\r\n"), "");
    }

    #[test]
    fn a_socket_that_nobody_serves_is_replaced_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let held = listen(&path).unwrap();
        let error = format!("{:#}", listen(&path).unwrap_err());
        assert!(error.ends_with("another process does"), "{error}");
        drop(held);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        for other in [link, file] {
            let error = format!("{:#}", listen(&other).unwrap_err());
            assert!(error.ends_with("it is no socket"), "{error}");
            assert!(other.symlink_metadata().is_ok());
        }
    }
}
