//! As much of HTTP/1.1 as a page and a probe need: one request a connection, no bodies in requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long one side waits for the other; a probe has to end before the engine's own limit does.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest request line or header that is read, in bytes.
const LONGEST_LINE: u64 = 16 * 1024;
const MOST_HEADERS: usize = 64;

/// The status and body that a plain `http://` URL answers with.
pub(crate) fn get(url: &str) -> io::Result<(u16, String)> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {what}"));
    let rest = url.strip_prefix("http://").ok_or_else(|| bad("only http:// is spoken here"))?;
    let (host, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let target = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let address = target.to_socket_addrs()?.next().ok_or_else(|| bad("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| bad("no HTTP answer"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| bad("no HTTP status"))?, body.to_owned()))
}

/// A request's path and its query, decoded.
pub(crate) struct Request {
    pub(crate) path: String,
    query: Vec<(String, String)>,
}

impl Request {
    /// Reads one request to the end of its headers; `None` when the peer went away or speaks something else.
    pub(crate) fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.by_ref().take(LONGEST_LINE).read_line(&mut line)?;
        let Some(target) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
        for _ in 0..MOST_HEADERS {
            line.clear();
            if reader.by_ref().take(LONGEST_LINE).read_line(&mut line)? == 0 || line.trim_end().is_empty() {
                break;
            }
        }
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        });
        Ok(Some(Self { path: decode(path), query: query.collect() }))
    }

    /// The value of a query parameter, empty when it is missing.
    pub(crate) fn value(&self, key: &str) -> &str {
        self.query.iter().find(|(k, _)| k == key).map_or("", |(_, value)| value)
    }
}

/// Writes a whole answer; the connection is closed after it.
pub(crate) fn answer(mut stream: &TcpStream, status: u16, kind: &str, body: &str) -> io::Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        503 => "Service Unavailable",
        _ => "Error",
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )?;
    stream.flush()
}

/// Percent-decoding with `+` as a blank; what is no valid escape stays as it is.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (byte, _) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Text as it may stand in HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_and_nonsense_stays() {
        for (given, expected) in
            [("a%2Fb", "a/b"), ("a+b", "a b"), ("100%", "100%"), ("%zz", "%zz"), ("ä%c3%a4", "ää")]
        {
            assert_eq!(decode(given), expected);
        }
    }

    #[test]
    fn a_page_cannot_be_broken_out_of() {
        assert_eq!(escape("<b>\"&"), "&lt;b&gt;&quot;&amp;");
    }
}
