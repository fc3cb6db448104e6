//! Which UM is played: how often it redirects, by which ports, what it calls itself.
//!
//! Exchange 2013 and 2016: call router, UM service, worker, so two successive redirects. Exchange 2010: one UM server whose service redirects to its
//! worker. Hosted: one front, which takes the call itself and is stricter in everything (mutual TLS by exact name, SRTP, its own name in To).

use crate::policy::settings::SecurityMode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    Exchange2016,
    Exchange2013,
    Exchange2010,
    Hosted,
    /// No UM: a Lync 2013 Mediation Server, which takes any call and forks.
    Mediation,
    /// No UM: a telephone behind a trunk, which takes any call.
    Telephone,
}

/// Where the roles listen. `service` is unused where there is one redirect only, `router` takes calls itself where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RolePorts {
    pub router: u16,
    pub service: u16,
    /// A worker is recycled by starting another on the other port.
    pub workers: [u16; 2],
}

impl Profile {
    /// Redirects before the call is answered.
    pub const fn redirects(self) -> u8 {
        match self {
            Profile::Exchange2016 | Profile::Exchange2013 => 2,
            Profile::Exchange2010 => 1,
            Profile::Hosted | Profile::Mediation | Profile::Telephone => 0,
        }
    }

    /// The ports Exchange's documentation names (start-up mode Dual for the workers; other pages pair them otherwise).
    pub const fn ports(self, mode: SecurityMode) -> RolePorts {
        match mode {
            SecurityMode::Unsecured => RolePorts { router: 5060, service: 5062, workers: [5065, 5067] },
            SecurityMode::SipSecured | SecurityMode::Secured => RolePorts { router: 5061, service: 5063, workers: [5066, 5068] },
        }
    }

    /// What it writes into Server and User-Agent.
    pub const fn product(self) -> &'static str {
        match self {
            Profile::Exchange2016 => "RTCC/5.0.0.0 MSExchangeUM/15.01.0225.042",
            Profile::Exchange2013 => "RTCC/5.0.0.0 MSExchangeUM/15.00.0847.032",
            Profile::Exchange2010 => "RTCC/3.5.0.0 MSExchangeUM/14.01.0218.012",
            Profile::Hosted => "RTCC/5.0.0.0 MSExchangeUM/15.01.0231.021",
            Profile::Mediation => "RTCC/5.0.0.0 MediationServer",
            Profile::Telephone => "simulated trunk",
        }
    }
}
