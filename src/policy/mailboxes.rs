//! Which UM pool a call goes to where mailboxes live in several: on-premises, hosted, or both (mixed), in one shared SIP address space.
//!
//! A deposit goes by the mailbox that was diverted from, subscriber access by the calling extension, everything else (an auto attendant, a caller from
//! outside) by the plan. Of what names the mailbox a row of the table decides first, then the rule that fixes most characters, then the plan's own pool.
//! A leg to a pool is as strong as the plan and as the pool demand, whichever is more.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::caller::{self, Caller};
use crate::policy::diversion::{self, Keep};
use crate::policy::number_pattern::{NumberPattern, compared};
use crate::policy::settings::{DialPlan, Peer, PolicySet, UmPool, number_of};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{Message, Uri};

/// `routing.toml`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Mailboxes {
    pub rules: Vec<MailboxRule>,
    /// Shared with other sets: a table that was read again makes a new set.
    pub table: Option<Arc<MailboxTable>>,
    /// Domains whose users live on both sides; in lower case. No SIP URI of theirs is a trunk's business.
    pub shared_domains: Vec<Arc<str>>,
}

/// `[[mailbox]]`.
#[derive(Clone, PartialEq, Debug)]
pub struct MailboxRule {
    pub name: Arc<str>,
    pub mailboxes: Vec<NumberPattern>,
    /// Names; empty: every plan.
    pub plans: Vec<Arc<str>>,
    pub um_pool: Arc<UmPool>,
}

/// Mailboxes one by one, found by hash. Keys are extensions, numbers, users or `user@domain`, in the form of [`compared`].
#[derive(Clone, PartialEq, Debug)]
pub struct MailboxTable {
    /// As the operator knows it, for `explain`.
    pub file: Arc<str>,
    rows: HashMap<Box<str>, Row>,
    pools: Vec<Arc<UmPool>>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Row {
    /// Index into `pools`.
    pool: u32,
    line: u32,
}

impl MailboxTable {
    pub fn new(file: &str) -> MailboxTable {
        MailboxTable { file: file.into(), rows: HashMap::new(), pools: Vec::new() }
    }

    /// `Err`: the line that names another pool for this mailbox. The same row twice is one row.
    pub fn insert(&mut self, mailbox: &str, pool: &Arc<UmPool>, line: u32) -> Result<(), u32> {
        let known = self.pools.iter().position(|known| Arc::ptr_eq(known, pool) || known.name == pool.name);
        let index = known.unwrap_or_else(|| {
            self.pools.push(Arc::clone(pool));
            self.pools.len() - 1
        });
        let row = Row { pool: index as u32, line };
        match self.rows.insert(compared(mailbox.trim()).into(), row) {
            Some(former) if former.pool != row.pool => Err(former.line),
            _ => Ok(()),
        }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether every mailbox leads to the same pool in both, by name, wherever it is written.
    pub fn leads_as(&self, other: &MailboxTable) -> bool {
        let leads = |table: &MailboxTable, key: &str| table.find(key).map(|(_, pool)| Arc::clone(&pool.name));
        self.rows.len() == other.rows.len() && self.rows.keys().all(|key| leads(self, key) == leads(other, key))
    }

    /// The pools it names.
    pub fn pools(&self) -> &[Arc<UmPool>] {
        &self.pools
    }

    /// `key`: in the form of [`compared`].
    fn find(&self, key: &str) -> Option<(u32, &Arc<UmPool>)> {
        let row = self.rows.get(key)?;
        Some((row.line, self.pools.get(row.pool as usize)?))
    }
}

impl Mailboxes {
    /// Nothing is routed by mailbox.
    pub fn is_idle(&self) -> bool {
        self.rules.is_empty() && self.table.is_none()
    }

    /// Every pool besides its own that calls of a plan may go to.
    pub fn pools_of<'a>(&'a self, plan: &'a DialPlan) -> impl Iterator<Item = &'a Arc<UmPool>> {
        let ruled = self.rules.iter().filter(|rule| rule.serves(plan)).map(|rule| &rule.um_pool);
        ruled.chain(self.table.iter().flat_map(|table| table.pools()))
    }

    /// Who decides about a mailbox known by these keys, the most telling first.
    fn decide(&self, plan: &DialPlan, keys: &[String]) -> Option<(String, &Arc<UmPool>)> {
        let in_table = || keys.iter().find_map(|key| self.table.as_ref().and_then(|table| Some((table, table.find(key)?))));
        if let Some((table, (line, pool))) = in_table() {
            return Some((format!("{}:{line}", table.file), pool));
        }
        let fitting = self.rules.iter().filter(|rule| rule.serves(plan));
        let lengths = fitting.flat_map(|rule| {
            let matching = rule.mailboxes.iter().filter(|pattern| keys.iter().any(|key| pattern.matches(key)));
            matching.map(move |pattern| (pattern, rule))
        });
        // Of two that fix as much the earlier one decides.
        let best = lengths.fold(None, |best: Option<(&NumberPattern, &MailboxRule)>, next| match best {
            Some(best) if best.0.length() >= next.0.length() => Some(best),
            _ => Some(next),
        });
        best.map(|(pattern, rule)| (format!("mailbox rule \"{}\" ({pattern})", rule.name), &rule.um_pool))
    }

    /// How a mailbox may be written in table and rules: with its domain, with each shared domain, alone.
    fn keys(&self, user: &str, written: &str, host: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::with_capacity(4 + self.shared_domains.len());
        let domains = [host].into_iter().filter(|host| !host.is_empty()).chain(self.shared_domains.iter().map(|domain| &**domain));
        for domain in domains {
            keys.push(compared(&format!("{user}@{domain}")));
        }
        keys.extend([compared(user), compared(written)]);
        keys.dedup();
        keys
    }
}

impl MailboxRule {
    fn serves(&self, plan: &DialPlan) -> bool {
        self.plans.is_empty() || self.plans.contains(&plan.name)
    }
}

/// The pool of an INVITE from outside, and which row, rule or default decided. `None`: nothing is routed by mailbox in this set.
pub fn pool(set: &PolicySet, plan: &DialPlan, peer: &Peer, invite: &Message) -> Option<(Decision, Arc<UmPool>)> {
    let mailboxes = &set.mailboxes;
    if mailboxes.is_idle() {
        return None;
    }
    let named = mailbox(mailboxes, plan, peer, invite);
    let found = named.as_ref().and_then(|(_, _, keys)| mailboxes.decide(plan, keys));
    let (rule, pool) = found.unwrap_or_else(|| (format!("default of dial plan \"{}\"", plan.name), &plan.um_pool));
    let mut decision = Decision::passed("routing", rule);
    decision = match named {
        Some((by, mailbox, _)) => decision.comparing("mailbox", mailbox).comparing("by", by),
        None => decision.comparing("mailbox", "none is named"),
    };
    Some((decision.comparing("UM pool", String::from(&*pool.name)), Arc::clone(pool)))
}

/// The plan as it governs a call to or from this pool: with the pool in its own's place, and as strong as the pool demands. Hosted UM is Secured, so a
/// peer in clear reaches it only where the plan names that peer in `interwork`.
pub fn governing(plan: &Arc<DialPlan>, pool: &Arc<UmPool>) -> Arc<DialPlan> {
    let mode = plan.mode.max(pool.floor());
    if (&pool.name, mode) == (&plan.um_pool.name, plan.mode) {
        return Arc::clone(plan);
    }
    Arc::new(DialPlan { um_pool: Arc::clone(pool), mode, ..DialPlan::clone(plan) })
}

/// The plans whose calls go to a pool with this server, each as it governs a call of that pool.
pub fn plans_of(set: &PolicySet, server: &str) -> impl Iterator<Item = Arc<DialPlan>> {
    set.dial_plans.iter().filter_map(move |plan| {
        let pools = std::iter::once(&plan.um_pool).chain(set.mailboxes.pools_of(plan));
        pools.into_iter().find(|pool| pool.has(server)).map(|pool| governing(plan, pool))
    })
}

/// Whose mailbox a call is about: by what header, the user, and the keys it may be found under.
fn mailbox(mailboxes: &Mailboxes, plan: &DialPlan, peer: &Peer, invite: &Message) -> Option<(&'static str, String, Vec<String>)> {
    if let Some(diverter) = diversion::choose(plan, peer, invite).as_ref().and_then(|chosen| chosen.foremost(plan.um_pool.diversion.keep == Keep::Last)) {
        let written = diverter.uri.user_decoded();
        return Some((diverter.family.header().as_str(), diverter.user.clone(), mailboxes.keys(&diverter.user, &written, diverter.uri.host)));
    }
    let Caller::Known { address, user } = caller::judge(plan, peer, invite).1 else { return None };
    let uri = address.parsed_uri().ok()?;
    let keys = mailboxes.keys(&user, &uri.user_decoded(), uri.host);
    Some(("calling party", user, keys))
}

/// Whether a request of UM's for `uri` would hand a user of the shared SIP address space to a gateway: who lives on the other side is reached there, and
/// a trunk that is given the URI would send it anywhere. Numbers written as SIP URIs (`user=phone`, or with `+`) are numbers.
pub fn outward(set: &PolicySet, uri: &Uri<'_>) -> Option<Decision> {
    let domain = set.mailboxes.shared_domains.iter().find(|domain| domain.eq_ignore_ascii_case(uri.host))?;
    let user = uri.user_decoded();
    let is_phone = uri.params.get("user").is_some_and(|kind| kind.eq_ignore_ascii_case("phone"));
    if number_of(&user).is_some_and(|number| is_phone || number.starts_with('+')) {
        return None;
    }
    let decision = Decision::refused("routing", "shared_domains", Reason::SharedDomain);
    Some(decision.comparing("called", format!("{user}@{}", uri.host)).comparing("shared", String::from(&**domain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> Arc<UmPool> {
        Arc::new(UmPool::new(name, Vec::new()))
    }

    #[test]
    fn a_hundred_thousand_rows_are_found_each_by_its_own() {
        let (here, there) = (pool("premises"), pool("online"));
        let mut table = MailboxTable::new("mailboxes.csv");
        for number in 0..100_000u32 {
            let pool = if number % 3 == 0 { &there } else { &here };
            assert_eq!(table.insert(&format!("{:06}", 200_000 + number), pool, number + 1), Ok(()));
        }
        assert_eq!((table.len(), table.pools().len()), (100_000, 2));
        for number in (0..100_000u32).step_by(997) {
            let (line, pool) = table.find(&(200_000 + number).to_string()).unwrap();
            assert_eq!((line, &*pool.name), (number + 1, if number % 3 == 0 { "online" } else { "premises" }));
        }
        assert_eq!(table.find("199999"), None);
    }

    #[test]
    fn a_mailbox_lives_in_one_pool() {
        let (here, there) = (pool("premises"), pool("online"));
        let mut table = MailboxTable::new("mailboxes.csv");
        assert_eq!(table.insert("Bob@Contoso.com", &here, 1), Ok(()));
        assert_eq!(table.insert("bob@contoso.com", &here, 2), Ok(()));
        assert_eq!(table.insert("bob@contoso.com", &there, 3), Err(2));
        assert_eq!(table.insert("+1 (425) 555-0100", &there, 4), Ok(()));
        assert!(table.find("+14255550100").is_some());
    }
}
