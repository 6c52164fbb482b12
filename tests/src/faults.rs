//! A proxy that delays, cuts and garbles what passes through it, and can be told otherwise at any moment.
//!
//! It stands before the registry, the marketplace or the engine's socket, and knows what was asked through it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happens to connections. A change concerns new ones, and of open ones what they do next; `Proxy::cut` ends
/// open ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes go through.
    None,
    /// The connection is closed before anything is read.
    Refuse,
    /// The connection is taken and nothing ever comes back.
    Hang,
    /// Nothing goes through before this time.
    Delay(Duration),
    /// The connection is cut after this many bytes of the answer.
    CutAfter(u64),
    /// The answer comes in pieces of this many bytes with a pause between two.
    Slow {
        /// Bytes of a piece.
        piece: usize,
        /// Time between two pieces.
        pause: Duration,
    },
    /// Every request is answered with this status and no more.
    Status(u16),
    /// The answer is no HTTP.
    Garbage,
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: Option<SocketAddr>,
    shared: Arc<Shared>,
    _end: DropGuard,
}

struct Shared {
    fault: watch::Sender<Fault>,
    /// Goes up to end every open connection.
    cut: watch::Sender<u64>,
    taken: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

#[derive(Clone)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Both kinds of socket.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Proxy {
    /// A proxy on a free loopback port.
    pub async fn tcp(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (proxy, end) = Self::new(Some(address));
        let shared = Arc::clone(&proxy.shared);
        let target = Target::Tcp(target);
        tokio::spawn(end.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Box::new(stream), target.clone(), Arc::clone(&shared)));
            }
        }));
        Ok(proxy)
    }

    /// A proxy on a Unix socket at `path`.
    pub fn unix(path: &Path, target: &Path) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(path)?;
        let (proxy, end) = Self::new(None);
        let shared = Arc::clone(&proxy.shared);
        let target = Target::Unix(target.to_owned());
        tokio::spawn(end.run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Box::new(stream), target.clone(), Arc::clone(&shared)));
            }
        }));
        Ok(proxy)
    }

    fn new(address: Option<SocketAddr>) -> (Self, CancellationToken) {
        let end = CancellationToken::new();
        let shared = Shared {
            fault: watch::Sender::new(Fault::None),
            cut: watch::Sender::new(0),
            taken: 0.into(),
            requests: Mutex::default(),
        };
        (Self { address, shared: Arc::new(shared), _end: end.clone().drop_guard() }, end)
    }

    /// Where a TCP proxy listens, as `127.0.0.1:1234`.
    ///
    /// # Panics
    /// When it is a proxy on a Unix socket.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a proxy on a TCP port")
    }

    /// From now on this happens.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Ends every open connection.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Connections taken so far.
    pub fn taken(&self) -> usize {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// The requests that have gone through since this was asked last, as `GET /v1.41/containers/json?all=true`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// A client sends the head of a request in one piece; what begins otherwise is the rest of a body.
    fn note_request(&self, piece: &[u8]) {
        let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
        if let Some(request) = std::str::from_utf8(line).ok().and_then(|line| line.strip_suffix(" HTTP/1.1"))
        {
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request.to_owned());
        }
    }
}

async fn serve(client: Box<dyn Stream>, target: Target, shared: Arc<Shared>) {
    shared.taken.fetch_add(1, Ordering::Relaxed);
    let mut cut = shared.cut.subscribe();
    let fault = shared.fault.subscribe();
    tokio::select! {
        // A connection that ends with an error has ended, which is what it is for.
        _ended = pass(client, target, fault, &shared) => {}
        _cut = cut.changed() => {}
    }
}

async fn pass(
    mut client: Box<dyn Stream>,
    target: Target,
    fault: watch::Receiver<Fault>,
    shared: &Shared,
) -> std::io::Result<()> {
    let now = fault.borrow().clone();
    match now {
        Fault::Refuse => return Ok(()),
        Fault::Hang => std::future::pending().await,
        Fault::Delay(time) => tokio::time::sleep(time).await,
        Fault::Status(status) => {
            read_request(&mut client).await?;
            let head = format!("HTTP/1.1 {status} Fault\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return client.write_all(head.as_bytes()).await;
        }
        Fault::Garbage => {
            read_request(&mut client).await?;
            return client.write_all(b"\x00\xff this is no HTTP\r\n\r\n").await;
        }
        Fault::None | Fault::CutAfter(_) | Fault::Slow { .. } => {}
    }
    let server: Box<dyn Stream> = match target {
        Target::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        Target::Unix(path) => Box::new(UnixStream::connect(path).await?),
    };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = from_client.read(&mut piece).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            shared.note_request(&piece[..length]);
            to_server.write_all(&piece[..length]).await?;
        }
    };
    let down = async {
        copy_with_faults(&mut from_server, &mut to_client, fault).await?;
        to_client.shutdown().await
    };
    // The answer's end is the connection's; a request's end is not (a half-closed `docker attach`).
    tokio::select! {
        done = down => done,
        error = async { match up.await { Ok(()) => std::future::pending().await, error => error } } => error,
    }
}

async fn read_request(client: &mut Box<dyn Stream>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if client.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn copy_with_faults(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    fault: watch::Receiver<Fault>,
) -> std::io::Result<()> {
    let mut passed = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let now = fault.borrow().clone();
            let length = match now {
                Fault::CutAfter(limit) if passed >= limit => return Ok(()),
                Fault::CutAfter(limit) => {
                    rest.len().min(usize::try_from(limit - passed).unwrap_or(usize::MAX))
                }
                Fault::Slow { piece, pause } => {
                    tokio::time::sleep(pause).await;
                    rest.len().min(piece)
                }
                Fault::Hang => std::future::pending().await,
                _ => rest.len(),
            };
            to.write_all(&rest[..length]).await?;
            to.flush().await?;
            passed += length as u64;
            rest = &rest[length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every connection with ten bytes after the request's end.
    async fn ten_bytes() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut request = [0; 4];
                    let _read = stream.read(&mut request).await;
                    let _written = stream.write_all(b"0123456789").await;
                });
            }
        });
        address
    }

    async fn ask(address: SocketAddr) -> Vec<u8> {
        let mut answer = Vec::new();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        let _reset = stream.read_to_end(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn each_fault_does_what_it_says() {
        let proxy = Proxy::tcp(ten_bytes().await).await.unwrap();
        let garbage: &[u8] = b"\x00\xff this is no HTTP\r\n\r\n";
        let slow = Fault::Slow { piece: 3, pause: Duration::from_millis(1) };
        let cases: [(Fault, &[u8]); 6] = [
            (Fault::None, b"0123456789"),
            (Fault::CutAfter(4), b"0123"),
            (Fault::Refuse, b""),
            (Fault::Garbage, garbage),
            (slow, b"0123456789"),
            (Fault::None, b"0123456789"),
        ];
        for (fault, expected) in cases {
            proxy.set(fault.clone());
            assert_eq!(ask(proxy.address()).await, expected, "{fault:?}");
        }
        assert_eq!(proxy.requests(), Vec::<String>::new(), "what was sent is no request");
        proxy.set(Fault::Status(429));
        assert!(ask(proxy.address()).await.starts_with(b"HTTP/1.1 429 "));
        assert_eq!(proxy.taken(), 7);
    }

    #[tokio::test]
    async fn what_was_asked_is_known() {
        let proxy = Proxy::tcp(ten_bytes().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"GET /info?a=b HTTP/1.1\r\nHost: here\r\n\r\n").await.unwrap();
        let _reset = stream.read_to_end(&mut Vec::new()).await;
        assert_eq!(proxy.requests(), ["GET /info?a=b"]);
        assert_eq!(proxy.requests(), Vec::<String>::new(), "each is told once");
    }

    #[tokio::test]
    async fn open_connections_can_be_cut() {
        let proxy = Proxy::tcp(ten_bytes().await).await.unwrap();
        proxy.set(Fault::Hang);
        let address = proxy.address();
        let asking = tokio::spawn(ask(address));
        while proxy.taken() == 0 {
            tokio::task::yield_now().await;
        }
        proxy.cut();
        let answer = tokio::time::timeout(Duration::from_secs(5), asking).await;
        assert_eq!(answer.expect("the connection has ended").unwrap(), b"");
    }
}
