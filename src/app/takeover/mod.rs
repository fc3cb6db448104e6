//! One process of a border takes over from another, mostly a newer version, and no call is lost.
//!
//! | the old process | the new one |
//! |---|---|
//! | goes on as ever | reads and checks its policy set, asks for the place on the control socket (`POST /v1/take-over`) |
//! | gives its listening sockets (`Offer`) | opens the others, resolves its peers' names, says `Ready` |
//! | says which call numbers and media ports it has used and keeps (`Go`); takes no new connection, and from now on hands over every message that belongs to none of its calls and transactions | takes new connections, gets those messages; what comes to it and belongs to a call of the old one it hands back |
//! | keeps its calls until the last has ended; then says `Done` and ends | reads datagrams itself; peers connect anew where the old process had connections |
//!
//! Datagrams are read by one process at a time, and sent by both, since both have the sockets. If the new process ends before the old one, the old one takes
//! its place again: until it has ended nothing is lost. One that neither ends nor lives is noticed by its silence (`pulse`).

mod between;
mod estate;
mod new;
mod old;
mod pulse;
mod words;

pub use between::{Before, Between};
pub use estate::Estate;
pub use new::{Inheritance, Wanted, start};
pub use old::{Left, Offering, Successor, leave};
