//! Keys for servers that speak TLS, made with the Java runtime's keytool: an authority, and a server certificate it signed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::java::Java;

const PASSWORD: &str = "leadway-secret";
const SERVER_NAME: &str = "san=ip:127.0.0.1,dns:localhost";

/// What a client needs beside the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name, where the server wants one.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// PEM file with the authority that signed the servers' certificates, where the server speaks TLS.
    pub ca_file: Option<PathBuf>,
}

/// A server's key and certificate chain, in Java's format (PKCS#12).
#[derive(Clone, Debug)]
pub(crate) struct KeyStore {
    /// The file.
    pub(crate) path: PathBuf,
    /// Password of the file and of the key in it.
    pub(crate) password: String,
    /// PEM file of the authority.
    pub(crate) ca_file: PathBuf,
}

impl KeyStore {
    /// Makes a new authority and a certificate for 127.0.0.1 in the folder.
    pub(crate) fn create(java: &Java, folder: &Path) -> Result<KeyStore> {
        let (authority, server) = (folder.join("authority.p12"), folder.join("server.p12"));
        let (ca_file, request, signed) = (folder.join("ca.pem"), folder.join("server.csr"), folder.join("server.pem"));
        let tool = Keytool { java };
        // rustls refuses an authority's certificate as a server's, so there are two.
        tool.run(
            &authority,
            "ca",
            &["-genkeypair", "-keyalg", "EC", "-dname", "CN=leadway test authority"],
            &["-ext", "bc:c"],
        )?;
        tool.run(&authority, "ca", &["-exportcert", "-rfc", "-file"], &[ca_file.as_os_str()])?;
        tool.run(
            &server,
            "server",
            &["-genkeypair", "-keyalg", "EC", "-dname", "CN=leadway test server"],
            &[] as &[&str],
        )?;
        tool.run(&server, "server", &["-certreq", "-file"], &[request.as_os_str()])?;
        tool.run(
            &authority,
            "ca",
            &["-gencert", "-rfc", "-ext", SERVER_NAME],
            &["-infile".as_ref(), request.as_os_str(), "-outfile".as_ref(), signed.as_os_str()],
        )?;
        tool.run(&server, "ca", &["-importcert", "-noprompt", "-file"], &[ca_file.as_os_str()])?;
        tool.run(&server, "server", &["-importcert", "-noprompt", "-file"], &[signed.as_os_str()])?;
        Ok(KeyStore { path: server, password: PASSWORD.to_owned(), ca_file })
    }
}

struct Keytool<'a> {
    java: &'a Java,
}

impl Keytool<'_> {
    fn run(&self, store: &Path, alias: &str, args: &[&str], more: &[impl AsRef<std::ffi::OsStr>]) -> Result<()> {
        let mut all: Vec<OsString> = args.iter().map(OsString::from).collect();
        all.extend(more.iter().map(|arg| arg.as_ref().to_owned()));
        all.extend(["-keystore".into(), store.into(), "-alias".into(), alias.into()]);
        all.extend(["-storepass", PASSWORD, "-storetype", "PKCS12"].map(OsString::from));
        self.java.run("keytool", "keytool", &all).map(drop)
    }
}
