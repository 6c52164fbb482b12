//! Following a marketplace: a stream of events that comes back by itself, and goes on where it was.

use std::time::Duration;

use reqwest::{Method, Response, header};

use super::transport::Transport;
use super::{ClientError, MarketplaceClient};
use crate::{EventReset, ReleaseEvent, ReleaseEventKind, ResetCause};

/// Wait before a connection that was lost is made again, where the service does not say.
const COME_BACK: Duration = Duration::from_secs(1);

/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);

/// Longest time that one connection is kept: a year, so as good as no end. What is silent is given up by the client's
/// `read_timeout`.
const CONNECTED: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a marketplace tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarketNews {
    /// What happened before this is not told: list what is needed, then go on with what follows. Always the first one where
    /// nothing was known before.
    Anew(ResetCause),
    /// Something happened to a release.
    Release(ReleaseEvent),
}

/// Follows a marketplace. Dropped, it ends.
#[derive(Debug)]
pub struct NewsStream {
    transport: Transport,
    url: url::Url,
    position: Option<String>,
    open: Option<Connection>,
    come_back: Duration,
    /// Tries since the last event.
    failures: u32,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    frames: Frames,
}

impl MarketplaceClient {
    /// What happens to releases, from now on or after a [position](NewsStream::position) that an earlier stream had. Nothing
    /// is sent before the first [`next`](NewsStream::next).
    pub fn news(&self, position: Option<String>) -> NewsStream {
        let url = self.transport.url(&["api", "v1", "marketplace", "events"]);
        let transport = self.transport.clone();
        NewsStream { transport, url, position, open: None, come_back: COME_BACK, failures: 0 }
    }
}

impl NewsStream {
    /// The next event, however long that takes. A connection that is lost, or a service that is away, is waited for and asked
    /// again, less and less often, for what was missed.
    ///
    /// # Errors
    /// [`ClientError::Problem`] where asking again will not help, as 401 or 404; [`ClientError::Unreadable`] for what is no
    /// event of ours, as of a later version: it is passed over when `next` is called again.
    pub async fn next(&mut self) -> Result<MarketNews, ClientError> {
        loop {
            if self.open.is_none() {
                match self.connect().await {
                    Ok(connection) => self.open = Some(connection),
                    Err(error) if error.is_transient() => {
                        self.wait(&error).await;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            match self.frame().await {
                Some(Ok(frame)) => {
                    if let Some(retry) = frame.retry {
                        self.come_back = retry.min(LONGEST);
                    }
                    let told = frame.read(self.url.path());
                    if frame.id.is_some() {
                        self.position = frame.id;
                        self.failures = 0;
                    }
                    if let Some(told) = told {
                        return told;
                    }
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.open = None;
                    tokio::time::sleep(self.pause()).await;
                }
            }
        }
    }

    /// How far this has come: what a later stream goes on from.
    pub fn position(&self) -> Option<&str> {
        self.position.as_deref()
    }

    async fn connect(&self) -> Result<Connection, ClientError> {
        let request = self.transport.request(Method::GET, self.url.clone());
        let request = request.header(header::ACCEPT, "text/event-stream").timeout(CONNECTED);
        let request = match &self.position {
            Some(position) => request.header("last-event-id", position),
            None => request,
        };
        let response = self.transport.stream(request).await?;
        let frames = Frames::new(self.transport.longest_body());
        Ok(Connection { response, frames })
    }

    /// The next frame; `None` when the connection has ended.
    async fn frame(&mut self) -> Option<Result<Frame, ClientError>> {
        let connection = self.open.as_mut()?;
        loop {
            match connection.frames.take() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Ok(None) => (),
                Err(TooLong) => {
                    self.open = None;
                    let limit = self.transport.longest_body();
                    return Some(Err(ClientError::TooLarge { url: self.url.to_string(), limit }));
                }
            }
            match connection.response.chunk().await {
                Ok(Some(bytes)) => connection.frames.push(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn wait(&mut self, error: &ClientError) {
        let asked = match error {
            ClientError::Problem { retry_after_s, .. } => retry_after_s.map(Duration::from_secs),
            _ => None,
        };
        let pause = self.pause().max(asked.unwrap_or_default().min(LONGEST));
        tokio::time::sleep(pause).await;
    }

    /// How long to wait before the next try: longer each time, until something comes.
    fn pause(&mut self) -> Duration {
        let pause = self.come_back.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// One block of a stream, as the WHATWG's HTML has them (9.2.6).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Frame {
    id: Option<String>,
    event: String,
    data: String,
    retry: Option<Duration>,
}

impl Frame {
    /// What it tells; `None` where it tells nothing, as a comment.
    fn read(&self, url: &str) -> Option<Result<MarketNews, ClientError>> {
        let unreadable = |what: String| ClientError::Unreadable { url: url.to_owned(), what };
        let known = ReleaseEventKind::from_wire(&self.event).is_some();
        match self.event.as_str() {
            _ if self.data.is_empty() => None,
            "reset" => {
                // A cause of a later version is one to begin anew as well.
                let because = serde_json::from_str(&self.data)
                    .map_or(ResetCause::Unknown, |EventReset { because }| because);
                Some(Ok(MarketNews::Anew(because)))
            }
            _ if known => {
                let event = serde_json::from_str(&self.data).map(MarketNews::Release);
                Some(event.map_err(|fault| unreadable(format!("the event {}: {fault}", self.event))))
            }
            other => Some(Err(unreadable(format!("this version knows no event {other:?}")))),
        }
    }
}

/// A line is longer than is read.
struct TooLong;

/// Cuts a stream of bytes into frames.
#[derive(Debug)]
struct Frames {
    bytes: Vec<u8>,
    frame: Frame,
    longest: usize,
}

impl Frames {
    fn new(longest: usize) -> Self {
        Self { bytes: Vec::new(), frame: Frame::default(), longest }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame that is whole.
    fn take(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                let frame = std::mem::take(&mut self.frame);
                if frame != Frame::default() {
                    return Ok(Some(frame));
                }
                continue;
            }
            self.line(line)?;
        }
        if self.bytes.len() > self.longest { Err(TooLong) } else { Ok(None) }
    }

    fn line(&mut self, line: &str) -> Result<(), TooLong> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.frame.event),
            "id" if !value.contains('\0') => self.frame.id = Some(value.to_owned()),
            "retry" => self.frame.retry = value.parse().ok().map(Duration::from_millis),
            "data" => {
                if !self.frame.data.is_empty() {
                    self.frame.data.push('\n');
                }
                self.frame.data.push_str(value);
            }
            // A comment has an empty field.
            _ => (),
        }
        if self.frame.data.len() > self.longest { Err(TooLong) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(parts: &[&str]) -> Vec<Frame> {
        let mut frames = Frames::new(1_000);
        let mut whole = Vec::new();
        for part in parts {
            frames.push(part.as_bytes());
            while let Ok(Some(frame)) = frames.take() {
                whole.push(frame);
            }
        }
        whole
    }

    #[test]
    fn frames_are_cut_wherever_the_bytes_are() {
        let text = ": open\nretry: 1500\n\nid: a-1\r\nevent: reset\r\ndata: {}\r\n\r\n: keep-alive\n\ndata:x\ndata: y\n\nid: half";
        let expected = [
            Frame { retry: Some(Duration::from_millis(1500)), ..Frame::default() },
            Frame {
                id: Some("a-1".to_owned()),
                event: "reset".to_owned(),
                data: "{}".to_owned(),
                retry: None,
            },
            Frame { data: "x\ny".to_owned(), ..Frame::default() },
        ];
        assert_eq!(frames(&[text]), expected);
        let bytes: Vec<String> = text.chars().map(|c| c.to_string()).collect();
        assert_eq!(frames(&bytes.iter().map(String::as_str).collect::<Vec<_>>()), expected);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut endless = Frames::new(100);
        endless.push(&[b'x'; 101]);
        assert!(endless.take().is_err());
        let mut endless = Frames::new(100);
        endless.push("data: 0123456789\n".repeat(20).as_bytes());
        assert!(endless.take().is_err());
    }

    #[test]
    fn events_are_read_and_those_of_later_versions_named() {
        let frame = |event: &str, data: &str| {
            let frame = Frame { event: event.to_owned(), data: data.to_owned(), ..Frame::default() };
            frame.read("/x")
        };
        assert!(frame("approved", "").is_none());
        assert_eq!(
            frame("reset", r#"{"because":"too_old"}"#).unwrap().unwrap(),
            MarketNews::Anew(ResetCause::TooOld)
        );
        assert_eq!(
            frame("reset", r#"{"because":"moon"}"#).unwrap().unwrap(),
            MarketNews::Anew(ResetCause::Unknown)
        );
        assert!(matches!(frame("approved", "{}"), Some(Err(ClientError::Unreadable { .. }))));
        let later = frame("renamed", "{}").unwrap().unwrap_err().to_string();
        assert!(later.contains("renamed"), "{later}");
    }
}
