//! `portcullis simulate trunk`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Certificate, Outcome, log, span, stay_local};
use crate::policy::settings::SecurityMode;
use crate::simulator::connection::Identity;
use crate::simulator::log::Log;
use crate::simulator::profile::Profile;
use crate::simulator::rules::Rules;
use crate::simulator::trunk::{self, Failure, Manners, Stayed};
use crate::simulator::um::{self, Conduct};
use crate::simulator::voice::Heard;

#[derive(clap::Args, Clone, Debug)]
pub struct Trunk {
    /// The border's listener.
    #[arg(long, value_name = "ADDRESS:PORT", required_unless_present = "answer")]
    pub border: Option<SocketAddr>,
    /// What the border's certificate must be good for.
    #[arg(long, default_value = "localhost")]
    pub border_name: String,
    /// The number to call.
    #[arg(long, requires = "border", required_unless_present = "answer")]
    pub to: Option<String>,
    /// The calling number.
    #[arg(long, default_value = "2001")]
    pub from: String,
    /// The extension that diverts the call, or a whole Diversion value.
    #[arg(long)]
    pub diversion: Option<String>,
    /// Calls to place.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// New calls a second.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rate: u32,
    /// How long a call lasts unless the other side hangs up.
    #[arg(long, value_parser = span, default_value = "5s")]
    pub lasting: Duration,
    /// Keys pressed a second after the answer.
    #[arg(long, default_value = "")]
    pub keys: String,
    /// Offers a fax (T.38) a second after the answer.
    #[arg(long)]
    pub fax: bool,
    /// Plain RTP beneath TLS (mode sip-secured).
    #[arg(long)]
    pub plain_media: bool,
    /// Behaves as a Lync Mediation Server: three crypto lines, 10 s of patience, RTCP expected.
    #[arg(long)]
    pub mediation: bool,

    /// Answers calls at this address, until --for is over.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub answer: Option<SocketAddr>,
    /// It hangs up answered calls after this time. Default: the caller does.
    #[arg(long, value_parser = span, requires = "answer")]
    pub hang_up: Option<Duration>,
    /// How long it answers calls.
    #[arg(long = "for", value_parser = span, default_value = "1h")]
    pub lifetime: Duration,

    /// Where its media is.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub media: IpAddr,
    /// Allows addresses other than loopback.
    #[arg(long)]
    pub remote: bool,
    #[command(flatten)]
    pub certificate: Certificate,
}

pub async fn simulate(arguments: &Trunk) -> Outcome {
    let places = [arguments.border, arguments.answer].into_iter().flatten().map(|place| place.ip());
    stay_local(&places.chain([arguments.media]).collect::<Vec<_>>(), arguments.remote)?;
    let identity = arguments.certificate.load()?;
    let log = log();
    let answering = match arguments.answer {
        Some(address) => match um::Um::start(telephone(arguments, address, identity.clone(), &log)).await {
            Ok(phone) => {
                log.say(format!("answers calls at {}", phone.router));
                Some(phone)
            }
            Err(error) => {
                log.say(format!("cannot listen at {address}: {error}"));
                return Ok(false);
            }
        },
        None => None,
    };
    let placed = match (arguments.border, &arguments.to) {
        (Some(border), Some(to)) => place(arguments, border, to, identity, &log).await,
        _ => true,
    };
    if let Some(phone) = answering {
        tokio::select! {
            () = tokio::time::sleep(arguments.lifetime) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        log.say(format!("{} calls were answered", phone.taken().len()));
    }
    Ok(placed)
}

/// Whoever picks up behind the trunk.
fn telephone(arguments: &Trunk, address: SocketAddr, identity: Option<Identity>, log: &Log) -> um::Settings {
    let mode = match &identity {
        None => SecurityMode::Unsecured,
        Some(_) if arguments.plain_media => SecurityMode::SipSecured,
        Some(_) => SecurityMode::Secured,
    };
    let identities = identity.map(|identity| [identity.clone(), identity.clone(), identity]);
    let profile = if arguments.mediation { Profile::Mediation } else { Profile::Telephone };
    um::Settings {
        media: arguments.media,
        greeting: 440.0,
        listens: 1000.0,
        ring: Duration::from_millis(200),
        rules: Rules::new(profile, mode),
        conduct: Conduct { hangs_up: arguments.hang_up, rtcp: Some(Duration::from_secs(5)), ..Conduct::default() },
        log: log.clone(),
        ..um::Settings::new(address, address, address, identities)
    }
}

/// Places the calls at their rate; whether all came through.
async fn place(arguments: &Trunk, border: SocketAddr, to: &str, identity: Option<Identity>, log: &Log) -> bool {
    let manners = if arguments.mediation { Manners::mediation() } else { Manners { rtcp: Some(Duration::from_secs(5)), ..Manners::default() } };
    let diversion = arguments.diversion.as_ref().map(|diversion| match diversion.contains(':') {
        true => diversion.clone(),
        false => format!("<sip:{diversion}@{}>;reason=no-answer;privacy=off;screen=yes", trunk::host(border.ip())),
    });
    let settings = trunk::Settings {
        border,
        border_name: arguments.border_name.clone(),
        identity,
        media: arguments.media,
        caller: arguments.from.clone(),
        called: to.to_owned(),
        diversion,
        says: 440.0,
        listens: 1000.0,
        manners: Manners { srtp: !arguments.plain_media, ..manners },
    };
    let arguments = Arc::new(arguments.clone());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / arguments.rate.max(1));
    let mut calls = JoinSet::new();
    for number in 1..=arguments.count {
        pace.tick().await;
        let (arguments, settings, log) = (arguments.clone(), settings.clone(), log.clone());
        calls.spawn(async move { one(number, &arguments, settings, &log).await });
    }
    let mut good = 0u32;
    while let Some(done) = calls.join_next().await {
        good += u32::from(done.unwrap_or(false));
    }
    log.say(format!("{good} of {} calls were answered and heard", arguments.count));
    good == arguments.count
}

/// One call; whether it was answered and something was heard.
async fn one(number: u32, arguments: &Trunk, settings: trunk::Settings, log: &Log) -> bool {
    let outcome: Result<(Heard, &str), Failure> = async {
        let mut call = trunk::call(settings).await?;
        log.say(format!("call {number}: answered, after {:?}", call.progress));
        let first = arguments.lasting.min(Duration::from_secs(1));
        let mut stayed = call.stay(first).await?;
        if stayed == Stayed::Up {
            call.dial(&arguments.keys);
            if arguments.fax {
                let answer = call.fax().await?;
                let fax = answer.lines().find(|line| line.starts_with("m=image")).unwrap_or("no m=image");
                log.say(format!("call {number}: the fax was answered with {fax}"));
            }
            stayed = call.stay(arguments.lasting - first).await?;
        }
        Ok(match stayed {
            Stayed::Up => (call.hang_up().await?, "hung up"),
            Stayed::NoRtcp => (call.over().await, "dropped: no RTCP for 30 s"),
            Stayed::HungUp | Stayed::Referred(_) => (call.over().await, "the other side hung up"),
        })
    }
    .await;
    match outcome {
        Ok((heard, how)) => {
            log.say(format!("call {number}: {how}; heard {heard}"));
            heard.packets > 0 && heard.refused == 0
        }
        Err(failure) => {
            log.say(format!("call {number}: {failure}"));
            false
        }
    }
}
