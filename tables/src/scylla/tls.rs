//! How connections to the database are encrypted.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::options::Options;
use crate::TablesError;

/// What rustls needs to know; `None` where connections are not encrypted.
pub(super) fn config(options: &Options) -> Result<Option<Arc<ClientConfig>>, TablesError> {
    if !options.tls {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| TablesError::Unusable(format!("TLS cannot be used: {e}")))?;
    let builder = builder.with_root_certificates(roots(options.ca_file.as_deref())?);
    let config = match (&options.certificate_file, &options.key_file) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("scylla.certificate_file", certificate)?;
            let read = PrivateKeyDer::from_pem_file(key);
            let private = read.map_err(|error| unreadable("scylla.key_file", key, &error))?;
            let made = builder.with_client_auth_cert(chain, private);
            made.map_err(|error| unreadable("scylla.key_file", key, &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(Arc::new(config)))
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, TablesError> {
    let mut roots = RootCertStore::empty();
    match file {
        None => {
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
        }
        Some(file) => {
            for certificate in certificates("scylla.ca_file", file)? {
                roots.add(certificate).map_err(|error| unreadable("scylla.ca_file", file, &error))?;
            }
        }
    }
    Ok(roots)
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TablesError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(setting, file, &error))?;
    match found.is_empty() {
        true => Err(unreadable(setting, file, &"there is no certificate in it")),
        false => Ok(found),
    }
}

fn unreadable(setting: &str, file: &Path, error: &dyn std::fmt::Display) -> TablesError {
    TablesError::Unusable(format!("{setting} {} cannot be used: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_none_is_named_with_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("ca.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        for file in [empty, folder.path().join("missing.pem")] {
            let options = Options { tls: true, ca_file: Some(file.clone()), ..Options::default() };
            let error = config(&options).unwrap_err().to_string();
            assert!(error.contains("scylla.ca_file") && error.contains(&*file.to_string_lossy()), "{error}");
        }
        assert!(config(&Options { tls: true, ..Options::default() }).unwrap().is_some());
        assert!(config(&Options::default()).unwrap().is_none());
    }
}
