//! Part V, the rim: sockets, files, clocks, processes. Nothing here decides; it carries events in and actions out.
pub mod admin;
pub mod api;
pub mod clock;
pub mod dns;
pub mod driver;
pub mod handover;
pub mod hep;
pub mod history;
pub mod media;
pub mod net;
pub mod nft;
pub mod otlp;
pub mod store;
pub mod supervisor;
pub mod telemetry;
pub mod tls;
pub mod webhook;
