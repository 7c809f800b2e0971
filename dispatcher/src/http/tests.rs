//! The transport over TLS.

use std::convert::Infallible;

use http::{Response, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use url::Url;

use super::*;
use crate::Target;

const NAME: &str = "client.example.com";

/// Who vouches for names.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for this name, until the beginning of this year.
    fn certificate(&self, name: &str, until: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    /// A transport that trusts nobody else, and for which every name is this machine's.
    fn transport(&self) -> HttpTransport {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let options = Options { allow_private_targets: true, ..Options::default() };
        let lookups = PublicOnly::asking(true, |_| Ok(vec![([127, 0, 0, 1], 0).into()]));
        HttpTransport::trusting(&options, lookups, roots).unwrap()
    }
}

/// A server's end of TLS that shows this certificate and offers these protocols.
fn acceptor((certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>), protocols: &[&str]) -> TlsAcceptor {
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut tls = tls.with_single_cert(vec![certificate], key).unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(tls))
}

/// A client system behind that; tells the version of each request.
async fn client_system(
    certificate: (CertificateDer<'static>, PrivateKeyDer<'static>),
    protocols: &[&str],
) -> (u16, UnboundedReceiver<Version>) {
    let acceptor = acceptor(certificate, protocols);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (requests, received) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, requests) = (acceptor.clone(), requests.clone());
            tokio::spawn(async move {
                // Who does not trust it goes away here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = service_fn(move |request: Request<Incoming>| {
                    let _ = requests.send(request.version());
                    async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"taken")))) }
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                let _ = connection.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    (port, received)
}

fn request(port: u16) -> WebhookRequest {
    WebhookRequest {
        target: Arc::new(Target::new(&Url::parse(&format!("https://{NAME}:{port}/hook")).unwrap())),
        id: "appt_7".into(),
        timestamp: 1_705_314_600,
        signature: "v1,abc".into(),
        body: Bytes::from_static(b"{}"),
    }
}

#[tokio::test]
async fn over_tls_a_client_system_is_spoken_to_in_the_best_version_that_it_offers() {
    let authority = Authority::new();
    for (protocols, version) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"][..], Version::HTTP_11), (&[][..], Version::HTTP_11)]
    {
        let (port, mut received) = client_system(authority.certificate(NAME, 4096), protocols).await;
        let transport = authority.transport();
        for _ in 0..2 {
            let answer = transport.send(request(port)).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (200, &b"taken"[..]), "{protocols:?}");
            assert_eq!(received.recv().await, Some(version), "{protocols:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_a_server_that_does_not_prove_its_name() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (shown, reason) in [
        (authority.certificate("other.example.com", 4096), "not valid for name"),
        (authority.certificate(NAME, 2020), "expired"),
        // It has the authority's name, but not its key.
        (stranger.certificate(NAME, 4096), "BadSignature"),
    ] {
        let (port, mut received) = client_system(shown, &["http/1.1"]).await;
        let sent = authority.transport().send(request(port)).await;
        assert!(matches!(&sent, Err(SendError::Connect(told)) if told.contains(reason)), "{reason}: {sent:?}");
        assert!(received.try_recv().is_err(), "{reason}");
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Answers the first request on a connection; to the second it says this, once it has read it, and hangs up.
async fn answers_one(mut stream: TlsStream<TcpStream>, says: &[u8], read: &AtomicUsize) -> std::io::Result<()> {
    const PREFACE: usize = 24;
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(4, 0, 0, &[])).await?;
    let mut requests = 0;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [_, high, low, kind, flags, id @ ..] = head;
        stream.read_exact(&mut vec![0; u16::from_be_bytes([high, low]).into()]).await?;
        match (kind, flags & 1) {
            (4, 0) => stream.write_all(&frame(4, 1, 0, &[])).await?,
            // The end of a request's head or body.
            (0 | 1, 1) => {
                read.fetch_add(1, Ordering::SeqCst);
                requests += 1;
                if requests == 2 {
                    stream.write_all(says).await?;
                    return stream.shutdown().await;
                }
                // `:status: 200`, and no more.
                stream.write_all(&frame(1, 5, u32::from_be_bytes(id), &[0x88])).await?;
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn over_http2_only_what_the_client_says_it_did_not_look_at_is_repeated() {
    const SECOND_STREAM: u32 = 3;
    let reset = |code: u8| frame(3, 0, SECOND_STREAM, &[0, 0, 0, code]);
    let go_away = |last: u8, code: u8| frame(7, 0, 0, &[0, 0, 0, last, 0, 0, 0, code]);
    for (case, says, repeated) in [
        ("it hangs up", Vec::new(), false),
        ("it failed", reset(2), false),
        ("it cancels", reset(8), false),
        ("it goes away having taken it", go_away(3, 0), false),
        ("it fails having taken it", go_away(3, 2), false),
        ("it refuses the stream", reset(7), true),
        ("it goes away without taking it", go_away(1, 0), true),
        ("it is asked too much", go_away(1, 11), true),
    ] {
        let authority = Authority::new();
        let acceptor = acceptor(authority.certificate(NAME, 4096), &["h2"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let _ = answers_one(stream, &says, &count).await;
            }
        });
        let transport = authority.transport();
        assert_eq!(transport.send(request(port)).await.map(|answer| answer.status), Ok(200), "{case}");
        let sent = transport.send(request(port)).await.map(|answer| answer.status);
        assert_eq!(sent.is_ok(), repeated, "{case}: {sent:?}");
        assert_eq!(read.load(Ordering::SeqCst), 2 + usize::from(repeated), "{case}");
    }
}
