//! Reading diversions as they come: with broken quotes, doubled, in lines or lists, in any letter case, as sip or tel (RFC 5806 §5, RFC 7044 §5).

use super::Cause487;
use super::causes::{self, Protocol};
use crate::policy::topology_hiding;
use crate::sip::{HeaderName, Message, NameAddr, Params, Scheme, Uri, split_list};

/// Values of one header that are looked at.
const MAX_VALUES: usize = 20;
/// A counter of more diversions than this says nothing any more.
const MAX_COUNTER: u16 = 30;

/// The headers that speak of diversions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Diversion,
    CcDiversion,
    HistoryInfo,
}

impl Family {
    /// In the order in which UM's own stack looks for them.
    pub const ALL: [Family; 3] = [Family::Diversion, Family::CcDiversion, Family::HistoryInfo];

    pub const fn header(self) -> HeaderName {
        match self {
            Family::Diversion => HeaderName::Diversion,
            Family::CcDiversion => HeaderName::CcDiversion,
            Family::HistoryInfo => HeaderName::HistoryInfo,
        }
    }
}

/// One who diverted the call.
#[derive(Clone, Debug)]
pub struct Diverter<'m> {
    pub family: Family,
    /// As written to UM: quoted and with a space, or empty.
    pub display: String,
    pub uri: Uri<'m>,
    /// The user as the plan wants it; as received until that is known.
    pub user: String,
    /// In lower case.
    pub reason: Option<String>,
    /// As History-Info had it.
    pub cause: Option<(Protocol, u16)>,
    /// `full`, `name`, `uri` or `off`.
    pub privacy: Option<&'static str>,
    pub screen: Option<&'static str>,
    /// Diversions this one stands for.
    pub counter: Option<u16>,
    pub limit: Option<u16>,
}

impl Diverter<'_> {
    /// The same user for the same reason. Two domains are two users only where domains cross.
    pub fn is_same(&self, other: &Diverter<'_>) -> bool {
        let same_host = self.uri.host_addr().is_some() || other.uri.host_addr().is_some() || self.uri.host.eq_ignore_ascii_case(other.uri.host);
        self.user.eq_ignore_ascii_case(&other.user)
            && self.reason == other.reason
            && (same_host || self.user.bytes().all(|byte| byte.is_ascii_digit() || byte == b'+'))
    }
}

/// The diverters of one header, the latest first, and how many values could not be read.
pub fn read<'m>(message: &'m Message, family: Family, cause_487: Cause487) -> (Vec<Diverter<'m>>, usize) {
    let lines = message.fields().filter(|field| field.name == family.header());
    let values: Vec<&'m [u8]> = lines.flat_map(|field| values(field.value)).filter(|value| !value.trim_ascii().is_empty()).take(MAX_VALUES).collect();
    let entries: Vec<Option<Entry<'m>>> = values.iter().map(entry).collect();
    let unreadable = entries.iter().filter(|entry| entry.is_none()).count();
    let entries: Vec<Entry<'m>> = entries.into_iter().flatten().collect();
    let diverters = match family {
        Family::Diversion | Family::CcDiversion => entries.into_iter().map(|entry| of_diversion(entry, family)).collect(),
        Family::HistoryInfo => of_history(message, entries, cause_487),
    };
    (diverters, unreadable)
}

/// The values of one line. Where quotes do not balance they are taken for letters, lest one swallow the next value.
fn values(line: &[u8]) -> Vec<&[u8]> {
    let quotes = line.iter().enumerate().filter(|(at, byte)| **byte == b'"' && (*at == 0 || line[at - 1] != b'\\')).count();
    if quotes.is_multiple_of(2) {
        return split_list(line).collect();
    }
    let mut inside = false;
    line.split(|byte| {
        match byte {
            b'<' => inside = true,
            b'>' => inside = false,
            _ => {}
        }
        *byte == b',' && !inside
    })
    .collect()
}

struct Entry<'m> {
    display: String,
    uri: Uri<'m>,
    params: Params<'m>,
}

fn entry<'m>(value: &&'m [u8]) -> Option<Entry<'m>> {
    let (display, uri, params) = match NameAddr::parse(value) {
        Ok(address) => (topology_hiding::display(&address), address.uri, address.params),
        Err(_) => rescue(value)?,
    };
    let uri = Uri::parse(uri).ok().filter(|uri| !matches!(uri.scheme, Scheme::Other(_)))?;
    Some(Entry { display, uri, params })
}

/// The URI between the first `<` and its `>`, and the parameters after it; whatever stands before is given up.
fn rescue(value: &[u8]) -> Option<(String, &str, Params<'_>)> {
    let text = std::str::from_utf8(value).ok()?;
    let (_, rest) = text.split_once('<')?;
    let (uri, rest) = rest.split_once('>')?;
    let params = rest.split_once(';').map_or("", |(_, params)| params);
    Some((String::new(), uri.trim(), Params::new(params)))
}

fn of_diversion<'m>(entry: Entry<'m>, family: Family) -> Diverter<'m> {
    let number = |name: &str| entry.params.get(name).and_then(|value| value.trim().parse::<u16>().ok()).filter(|number| *number <= 999);
    let reason = entry.params.get("reason").map(|reason| reason.trim().to_ascii_lowercase()).filter(|reason| is_token(reason));
    Diverter {
        family,
        user: entry.uri.user_decoded().into_owned(),
        display: entry.display,
        uri: entry.uri,
        reason,
        cause: None,
        privacy: entry.params.get("privacy").and_then(|value| known(value, &["full", "name", "uri", "off"])),
        screen: entry.params.get("screen").and_then(|value| known(value, &["yes", "no"])),
        counter: number("counter"),
        limit: number("limit"),
    }
}

fn known(value: &str, words: &[&'static str]) -> Option<&'static str> {
    words.iter().copied().find(|word| value.trim().eq_ignore_ascii_case(word))
}

fn is_token(value: &str) -> bool {
    !value.is_empty() && value.len() <= 32 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

/// Who of the entries diverted: each that says why it was left, by an escaped Reason of its own or the `cause` of the next (RFC 4458 §2.1). Where none
/// says why, it is the one before the last, if that is another user. The last is where the call went, unless it was left too.
fn of_history<'m>(message: &Message, entries: Vec<Entry<'m>>, cause_487: Cause487) -> Vec<Diverter<'m>> {
    let all_private = message.values(HeaderName::Privacy).any(|value| value.to_ascii_lowercase().windows(7).any(|word| word == b"history"));
    let causes: Vec<Option<(Protocol, u16)>> = (0..entries.len()).map(|at| left_because(&entries, at)).collect();
    let depths: Vec<usize> = entries.iter().map(depth).collect();
    let silent = causes.iter().all(Option::is_none);
    let last = entries.len().saturating_sub(1);
    let before_last = |at: usize| silent && at + 1 == last && !entries[at].uri.user_decoded().eq_ignore_ascii_case(&entries[last].uri.user_decoded());
    let diverting: Vec<bool> = (0..entries.len()).map(|at| causes[at].is_some() || before_last(at)).collect();
    let mut diverters: Vec<Diverter<'m>> = entries
        .into_iter()
        .enumerate()
        .filter(|(at, _)| diverting[*at])
        .map(|(at, entry)| {
            let gap = depths.get(at + 1).map_or(1, |next| next.saturating_sub(depths[at])) as u16;
            Diverter {
                family: Family::HistoryInfo,
                user: entry.uri.user_decoded().into_owned(),
                privacy: (all_private || header_of(&entry.uri, "privacy").is_some_and(|value| value.to_ascii_lowercase().contains("history")))
                    .then_some("full"),
                display: entry.display,
                uri: entry.uri,
                reason: Some(String::from(causes[at].map_or("unknown", |(protocol, cause)| causes::reason(protocol, cause, cause_487)))),
                cause: causes[at],
                screen: None,
                counter: (gap > 1 && gap <= MAX_COUNTER).then_some(gap),
                limit: None,
            }
        })
        .collect();
    diverters.reverse();
    diverters
}

/// How deep an entry's index is (`1.1.1` is three deep); 0 where it has none.
fn depth(entry: &Entry<'_>) -> usize {
    entry.params.get("index").map_or(0, |index| index.split('.').count())
}

fn left_because(entries: &[Entry<'_>], at: usize) -> Option<(Protocol, u16)> {
    let own = header_of(&entries[at].uri, "reason").and_then(|reason| {
        let protocol = if reason.trim_start().to_ascii_uppercase().starts_with("Q.850") { Protocol::Q850 } else { Protocol::Sip };
        Some((protocol, number(reason.to_ascii_lowercase().split_once("cause=")?.1)?))
    });
    own.or_else(|| Some((Protocol::Sip, number(entries.get(at + 1)?.uri.params.get("cause")?)?)))
}

fn number(text: &str) -> Option<u16> {
    let end = text.bytes().take(3).take_while(u8::is_ascii_digit).count();
    text.get(..end)?.parse().ok()
}

/// A header escaped in a URI (RFC 3261 §19.1.1), unescaped as far as its structure goes.
fn header_of(uri: &Uri<'_>, name: &str) -> Option<String> {
    let value = uri.headers?.split('&').find_map(|header| header.split_once('=').filter(|(known, _)| known.eq_ignore_ascii_case(name)))?.1;
    let mut plain = String::from(value);
    for (escaped, letter) in [("%3B", ";"), ("%3b", ";"), ("%3D", "="), ("%3d", "="), ("%20", " "), ("%22", "\"")] {
        plain = plain.replace(escaped, letter);
    }
    Some(plain)
}
