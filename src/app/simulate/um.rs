//! `portcullis simulate um`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Certificate, Outcome, at, log, span, stay_local};
use crate::policy::settings::{SecurityMode, UriType};
use crate::simulator::connection::Identity;
use crate::simulator::log::Log;
use crate::simulator::outbound::Gateway;
use crate::simulator::profile::Profile;
use crate::simulator::rules::{Rules, Which};
use crate::simulator::trunk::{self, Manners, Stayed};
use crate::simulator::um::{self as simulated, Conduct};

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Played {
    #[value(name = "exchange-2016")]
    Exchange2016,
    #[value(name = "exchange-2013")]
    Exchange2013,
    #[value(name = "exchange-2010")]
    Exchange2010,
    Hosted,
    Lync,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Unsecured,
    SipSecured,
    Secured,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    Extension,
    SipUri,
    E164,
}

#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Position {
    First,
    Last,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Um {
    /// Which server is played.
    #[arg(long, value_enum, default_value = "exchange-2016")]
    pub profile: Played,
    /// The dial plan's security mode. Hosted is always secured.
    #[arg(long, value_enum, default_value = "unsecured")]
    pub mode: Mode,
    /// The dial plan's URI type.
    #[arg(long, value_enum, default_value = "extension")]
    pub uri_type: Plan,
    /// Digits of an extension: a diversion by one of another length is not answered (event 1109).
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=20))]
    pub digits: Option<u8>,
    /// Subscriber access and pilot numbers, comma separated. Without them and auto attendants every number that fits is taken.
    #[arg(long, value_delimiter = ',')]
    pub access_numbers: Vec<String>,
    /// Auto attendants' numbers, comma separated.
    #[arg(long, value_delimiter = ',')]
    pub auto_attendants: Vec<String>,
    /// Which of several Diversion values counts; builds differ.
    #[arg(long, value_enum, default_value = "last")]
    pub diversion: Position,
    /// Hosted: what the host of To must be.
    #[arg(long, required_if_eq("profile", "hosted"))]
    pub hosted_name: Option<String>,
    /// Addresses of UM IP gateways, comma separated: requests from elsewhere are refused. Default: any.
    #[arg(long, value_delimiter = ',')]
    pub gateways: Vec<IpAddr>,
    /// Names of UM IP gateways, comma separated, one of which a certificate must carry. Default: any certificate of the CA.
    #[arg(long, value_delimiter = ',')]
    pub gateway_names: Vec<String>,

    /// Where it listens.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Ports of call router, UM service and the two workers. Default: Exchange's own.
    #[arg(long, value_delimiter = ',', value_name = "ROUTER,SERVICE,WORKER,WORKER")]
    pub ports: Vec<u16>,
    /// A new worker takes over on the other port at this interval.
    #[arg(long, value_parser = span)]
    pub recycle: Option<Duration>,
    /// Allows addresses other than loopback.
    #[arg(long)]
    pub remote: bool,
    #[command(flatten)]
    pub certificate: Certificate,

    /// It rings this long before it answers.
    #[arg(long, value_parser = span, default_value = "200ms")]
    pub ring: Duration,
    /// It hangs up after greeting and recording this long. Default: the caller does.
    #[arg(long, value_parser = span)]
    pub hang_up: Option<Duration>,
    /// It refers the caller to this URI, when --refer-after has passed or --refer-on was pressed.
    #[arg(long, value_name = "URI")]
    pub refer_to: Option<String>,
    #[arg(long, value_parser = span, requires = "refer_to")]
    pub refer_after: Option<Duration>,
    #[arg(long, requires = "refer_to", value_name = "KEY")]
    pub refer_on: Option<char>,
    /// The partner fax server's URI, where faxes are referred.
    #[arg(long, value_name = "URI")]
    pub fax_server: Option<String>,
    /// RTCP goes out at this interval; 0s: none.
    #[arg(long, value_parser = span, default_value = "5s")]
    pub rtcp: Duration,
    /// Calls up at a time.
    #[arg(long, default_value_t = 100)]
    pub max_calls: usize,

    /// The border's listener, for what UM sends of its own.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub gateway: Option<SocketAddr>,
    /// What the border's certificate must be good for.
    #[arg(long, default_value = "localhost")]
    pub gateway_name: String,
    /// OPTIONS to the gateway at this interval; 0s: none.
    #[arg(long, value_parser = span, default_value = "20s")]
    pub options: Duration,
    /// Calls this number through the gateway, a second after the start. Profile lync: the call that it places.
    #[arg(long, value_name = "NUMBER", requires = "gateway")]
    pub call: Option<String>,
    /// As whom it calls.
    #[arg(long, default_value = "5000", value_name = "NUMBER")]
    pub caller: String,
    /// How long such a call lasts.
    #[arg(long, value_parser = span, default_value = "5s")]
    pub lasting: Duration,
    /// Tells the gateway of messages waiting, a second after the start: 613=2/1 is two new and one old for 613.
    #[arg(long, value_name = "ACCOUNT=NEW/OLD", requires = "gateway")]
    pub waiting: Option<String>,
    /// It ends after this time.
    #[arg(long = "for", value_parser = span, default_value = "1h")]
    pub lifetime: Duration,
}

/// A second after the start, what it listens on is surely open.
const SETTLING: Duration = Duration::from_secs(1);

pub async fn simulate(arguments: &Um) -> Outcome {
    let addresses: Vec<IpAddr> = [Some(arguments.address), arguments.gateway.map(|gateway| gateway.ip())].into_iter().flatten().collect();
    stay_local(&addresses, arguments.remote)?;
    let identity = arguments.certificate.load()?;
    let log = log();
    let settings = settings(arguments, identity.clone(), log.clone())?;
    let product = settings.rules.profile.product();
    let um = match simulated::Um::start(settings).await {
        Ok(um) => um,
        Err(error) => {
            log.say(format!("cannot listen: {error}"));
            return Ok(false);
        }
    };
    let other = um.other_worker.map(|other| format!(" and {other}")).unwrap_or_default();
    log.say(format!("{product}: call router {}, UM service {}, worker {}{other}", um.router, um.service, um.worker));
    let gateway = arguments.gateway.map(|address| Gateway { address, name: arguments.gateway_name.clone(), identity, product });
    let mut tasks: JoinSet<bool> = JoinSet::new();
    if let Some(gateway) = gateway {
        errands(arguments, &gateway, &log, &mut tasks);
    }
    let mut good = true;
    let end = tokio::time::sleep(arguments.lifetime);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = tokio::signal::ctrl_c() => break,
            Some(done) = tasks.join_next() => good &= done.unwrap_or(false),
        }
    }
    log.say(format!("{} calls were taken", um.taken().len()));
    Ok(good)
}

/// What it sends of its own, each on a task.
fn errands(arguments: &Um, gateway: &Gateway, log: &Log, tasks: &mut JoinSet<bool>) {
    let (every, lasting, media, caller) = (arguments.options, arguments.lasting, arguments.address, arguments.caller.clone());
    if !every.is_zero() {
        let (gateway, log) = (gateway.clone(), log.clone());
        tasks.spawn(async move {
            gateway.watch(every, &log).await;
            true
        });
    }
    if let Some((account, new, old)) = arguments.waiting.as_deref().and_then(waiting) {
        let (gateway, log) = (gateway.clone(), log.clone());
        tasks.spawn(async move {
            tokio::time::sleep(SETTLING).await;
            gateway.message_waiting(&account, new, old, &log).await.is_ok_and(|status| status < 300)
        });
    }
    if let Some(number) = arguments.call.clone() {
        let (gateway, log, is_lync) = (gateway.clone(), log.clone(), arguments.profile == Played::Lync);
        tasks.spawn(async move {
            tokio::time::sleep(SETTLING).await;
            if is_lync {
                mediation_call(&gateway, caller, number, media, lasting, &log).await
            } else {
                gateway.play_on_phone(&caller, &number, media, lasting, &log).await.is_ok()
            }
        });
    }
}

/// A call of the Mediation Server: three crypto lines, ten seconds' patience, RTCP expected.
async fn mediation_call(gateway: &Gateway, caller: String, called: String, media: IpAddr, lasting: Duration, log: &Log) -> bool {
    let settings = trunk::Settings {
        border: gateway.address,
        border_name: gateway.name.clone(),
        identity: gateway.identity.clone(),
        media,
        caller,
        called: called.clone(),
        diversion: None,
        says: 440.0,
        listens: 1000.0,
        manners: Manners::mediation(),
    };
    let outcome = async {
        let mut call = trunk::call(settings).await?;
        log.say(format!("{called} has answered after {:?}, by crypto line {:?}", call.progress, call.theirs.tag));
        match call.stay(lasting).await? {
            Stayed::Up => call.hang_up().await.map(|heard| (heard, "hung up")),
            Stayed::NoRtcp => Ok((call.over().await, "no RTCP for 30 s: the call is dropped")),
            _ => Ok((call.over().await, "the other side hung up")),
        }
    }
    .await;
    match outcome {
        Ok((heard, how)) => {
            log.say(format!("{called}: {how}; heard {heard}"));
            heard.packets > 0
        }
        Err(failure) => {
            log.say(format!("{called} was not reached: {failure}"));
            false
        }
    }
}

fn waiting(text: &str) -> Option<(String, u32, u32)> {
    let (account, counts) = text.split_once('=')?;
    let (new, old) = counts.split_once('/')?;
    Some((account.to_owned(), new.parse().ok()?, old.parse().ok()?))
}

fn settings(arguments: &Um, identity: Option<Identity>, log: Log) -> io::Result<simulated::Settings> {
    let profile = match arguments.profile {
        Played::Exchange2016 => Profile::Exchange2016,
        Played::Exchange2013 => Profile::Exchange2013,
        Played::Exchange2010 => Profile::Exchange2010,
        Played::Hosted => Profile::Hosted,
        Played::Lync => Profile::Mediation,
    };
    let mode = match arguments.mode {
        _ if profile == Profile::Hosted => SecurityMode::Secured,
        Mode::Unsecured => SecurityMode::Unsecured,
        Mode::SipSecured => SecurityMode::SipSecured,
        Mode::Secured => SecurityMode::Secured,
    };
    if (mode == SecurityMode::Unsecured) == identity.is_some() {
        let instead = "give --certificate, --key and --ca with --mode sip-secured or secured (hosted is always secured), and none with --mode unsecured";
        return Err(io::Error::other(instead));
    }
    if arguments.waiting.as_deref().is_some_and(|text| waiting(text).is_none()) {
        return Err(io::Error::other("--waiting is written ACCOUNT=NEW/OLD, as in 613=2/1"));
    }
    let usual = profile.ports(mode);
    let ports = match *arguments.ports {
        [router, service, worker, other] => [router, service, worker, other],
        [] => [usual.router, usual.service, usual.workers[0], usual.workers[1]],
        _ => return Err(io::Error::other("--ports takes four: ROUTER,SERVICE,WORKER,WORKER")),
    };
    let [router, service, worker, other] = ports.map(|port| at(arguments.address, port));
    let identities = identity.map(|identity| [identity.clone(), identity.clone(), identity]);
    let mut settings = simulated::Settings::new(router, service, worker, identities);
    settings.recycled = arguments.recycle.map(|period| (other, period));
    settings.ring = arguments.ring;
    settings.log = log;
    settings.rules = Rules {
        uri_type: match arguments.uri_type {
            Plan::Extension => UriType::Extension,
            Plan::SipUri => UriType::SipUri,
            Plan::E164 => UriType::E164,
        },
        digits: arguments.digits,
        gateways: arguments.gateways.clone(),
        gateway_names: arguments.gateway_names.clone(),
        access_numbers: arguments.access_numbers.clone(),
        auto_attendants: arguments.auto_attendants.clone(),
        hosted_name: arguments.hosted_name.clone(),
        which_diversion: if arguments.diversion == Position::First { Which::First } else { Which::Last },
        ..Rules::new(profile, mode)
    };
    settings.conduct = Conduct {
        hangs_up: arguments.hang_up,
        refers: arguments.refer_after.zip(arguments.refer_to.clone()),
        refers_on: arguments.refer_on.zip(arguments.refer_to.clone()),
        fax_server: arguments.fax_server.clone(),
        rtcp: Some(arguments.rtcp).filter(|span| !span.is_zero()),
        max_calls: Some(arguments.max_calls),
    };
    Ok(settings)
}
