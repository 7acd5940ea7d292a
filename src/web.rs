//! What a service that runs shows over HTTP: pages for people, an API, metrics, and whether it is alive.
//!
//! It looks at the service through its desk and at what was drilled through the stores of reports; it can ask
//! for a drill where a token was given, and for nothing else. Pages are made here, whole, from what is in
//! memory: no page waits for a store but those that show one report or one archive.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    drill::{Code, Error},
    service::Desk,
};

pub mod api;
mod catalogs;
mod doors;
mod host;
pub mod metrics;
mod pages;
mod problem;
pub mod recent;
mod routes;
mod site;
mod stores;
mod token;
mod view;

pub use self::token::Token;
use self::{doors::Limits, host::Hosts, site::Site};

/// For a few people and what watches; every connection is a descriptor, and drills need theirs.
const LIMITS: Limits =
    Limits { connections: 256, head: Duration::from_secs(10), last_words: Duration::from_secs(5) };

/// What the pages are told when they start.
#[derive(Debug, Default)]
pub struct Settings {
    /// Whoever knows it may start drills; without one nobody may.
    pub token: Option<Token>,
    /// Folder for summaries of reports; without one every report is read again after a restart.
    pub cache: Option<PathBuf>,
    /// Names by which the pages are reached, beside addresses and `localhost`. Where there are none, every
    /// name is answered, unless the address is this machine's alone.
    pub hosts: Vec<String>,
}

/// An address that is ours, and nobody is answered yet.
#[derive(Debug)]
pub struct Door(TcpListener);

impl Door {
    /// Takes an address.
    ///
    /// # Errors
    /// `ServiceListen`: it is taken, or none of this machine's.
    pub async fn open(address: SocketAddr) -> Result<Self, Error> {
        let refused = |error: std::io::Error| {
            let message = format!("cannot listen at `{address}`: {error}");
            Error::new(Code::ServiceListen, message).hint(
                "Name another address with `--listen`, such as `127.0.0.1:0` for any free port, or `none`.",
            )
        };
        TcpListener::bind(address).await.map(Self).map_err(refused)
    }

    /// Where it is: with the port that was chosen.
    ///
    /// # Errors
    /// `Io`.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.0
            .local_addr()
            .map_err(|error| Error::io("read the address of the pages".to_owned(), &error))
    }

    /// Answers until `cancel`, and what is being answered then for a few seconds more.
    pub async fn serve(self, desk: Desk, mut settings: Settings, cancel: CancellationToken) {
        // An address that cannot be told is taken for the one with the stricter rule.
        let own = IpAddr::from(Ipv4Addr::LOCALHOST);
        let address = self.address().map_or(own, |address| address.ip());
        let hosts = Hosts::new(address, std::mem::take(&mut settings.hosts));
        let app = routes::app(Site::new(desk, settings), hosts);
        doors::answer(self.0, app, LIMITS, cancel).await;
    }
}
