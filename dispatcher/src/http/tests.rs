//! The transport over TLS.

use std::convert::Infallible;

use http::{Response, Version};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::TlsAcceptor;
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

/// A client system that shows this certificate and offers these protocols; tells the version of each request.
async fn client_system(
    (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
    protocols: &[&str],
) -> (u16, UnboundedReceiver<Version>) {
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut tls = tls.with_single_cert(vec![certificate], key).unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
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
