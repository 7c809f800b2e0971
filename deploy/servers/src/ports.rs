//! Ports that stay ours for the life of this process, also while the server behind them is dead.
//!
//! They lie below the range from which the kernel takes the local ports of outgoing connections: a client that keeps dialling
//! a killed server would otherwise now and then be given the server's own port, and connect to itself. A lock file per port
//! keeps other test binaries away; the kernel releases it when the process ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

use crate::error::{Error, Result, io};
use crate::jars::cache_folder;

const FIRST: u16 = 12_000;
const LAST: u16 = 19_999;

/// A port on 127.0.0.1, claimed until dropped.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _claim: File,
}

impl Port {
    /// The lowest port that is free and claimed by nobody.
    pub(crate) fn free() -> Result<Port> {
        for number in FIRST..=LAST {
            if let Some(port) = claim(number)? {
                return Ok(port);
            }
        }
        Err(Error::NoFreePort { first: FIRST, last: LAST })
    }

    /// This very port.
    pub(crate) fn fixed(number: u16) -> Result<Port> {
        claim(number)?.ok_or(Error::PortInUse { port: number })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn claim(number: u16) -> Result<Option<Port>> {
    let folder = cache_folder()?.join("ports");
    fs::create_dir_all(&folder).map_err(io("creating", &folder))?;
    let path = folder.join(number.to_string());
    let claim = File::create(&path).map_err(io("creating", &path))?;
    if claim.try_lock().is_err() || TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_err() {
        return Ok(None);
    }
    Ok(Some(Port { number, _claim: claim }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_port_is_given_to_nobody_else_until_dropped() {
        let first = Port::free().unwrap();
        let second = Port::free().unwrap();
        assert_ne!(first.number(), second.number());
        assert!(matches!(Port::fixed(first.number()), Err(Error::PortInUse { .. })));
        let number = first.number();
        drop(first);
        // Another test binary may take it in between; then it is claimed, which is just as right.
        assert!(matches!(Port::fixed(number), Ok(_) | Err(Error::PortInUse { .. })));
    }
}
