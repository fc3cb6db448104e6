//! The composition root and the commands of the program, one file each. Everything may be imported here, and nobody imports this.

pub mod api;
pub mod ask;
pub mod border;
pub mod certs;
pub mod check;
pub mod diff;
pub mod explain;
pub mod firewall;
pub mod handshakes;
pub mod health;
mod hosted;
pub mod import;
pub mod integration;
pub mod mailboxes;
pub mod manual;
pub mod missed_calls;
pub mod printed;
pub mod quickstart;
pub mod reloading;
pub mod rotation;
pub mod ruleset;
pub mod run;
pub mod show;
pub mod simulate;
mod survey;
pub mod token;
pub mod vitals;
