//! What one call agrees on: media (RFC 3264), reliable provisional answers (RFC 3262), its life time (RFC 4028).

pub mod answer;
pub mod offer_answer;
pub mod reliability;
pub mod session_timer;
