//! `routing.toml` as meant: pools and plans resolved, the table read, and no pool that could not serve the plans it is for.

use std::sync::Arc;

use super::plans::{Known, check_pool};
use super::{number_pattern, unknown};
use crate::config::finding::{Findings, Written};
use crate::config::mailboxes::{self, TableFile};
use crate::config::source::Source;
use crate::config::written::{self, is_host_name};
use crate::policy::mailboxes::{MailboxRule, MailboxTable, Mailboxes};
use crate::policy::settings::{DialPlan, UmPool};

const NAME_CHARACTERS: usize = 64;

/// The routing, and where its table is.
pub fn routing(
    written: &written::Routing,
    pools: &[Arc<UmPool>],
    plans: &[Arc<DialPlan>],
    known: &Known<'_>,
    source: &dyn Source,
    findings: &Findings,
) -> (Mailboxes, Option<TableFile>) {
    let mut seen = Vec::new();
    let mut rules = Vec::new();
    for entry in &written.rules {
        let name = super::name(entry.name.as_ref(), "mailbox rule", NAME_CHARACTERS, &mut seen, findings);
        let of: Vec<Arc<str>> = entry.plans.iter().filter_map(|written| plan(written, plans, known, findings)).collect();
        let patterns = entry.mailboxes.iter().filter_map(|written| number_pattern(written, "a mailbox rule", findings)).collect();
        let pool = entry.um_pool.as_ref().and_then(|written| {
            let found = pools.iter().find(|pool| *pool.name == *written.value);
            if found.is_none() {
                let names: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
                unknown(written, "UM pool", "um_pools.toml", &names, &known.pool_names, findings);
            }
            found
        });
        // A rule all of whose plans are misspelt must not become one of every plan.
        if of.is_empty() && !entry.plans.is_empty() {
            continue;
        }
        let (Some(name), Some(pool), Some(at)) = (name, pool, &entry.um_pool) else { continue };
        for plan in plans.iter().filter(|plan| of.is_empty() || of.contains(&plan.name)) {
            check_pool(plan, pool, at.at, known.peers, findings);
            same_keep(plan, pool, at, findings);
        }
        rules.push(MailboxRule { name, mailboxes: patterns, plans: of, um_pool: Arc::clone(pool) });
    }
    let table = written.table.as_ref().and_then(|at| table(at, pools, source, findings).map(|table| (at, table)));
    if let Some((at, table)) = &table {
        for (plan, pool) in plans.iter().flat_map(|plan| table.pools().iter().map(move |pool| (plan, pool))) {
            check_pool(plan, pool, at.at, known.peers, findings);
            same_keep(plan, pool, at, findings);
        }
    }
    let file = written.table.as_ref().map(|at| TableFile { path: source.path(&at.value), name: at.value.as_str().into(), poll: written.poll });
    let shared_domains = written.shared_domains.iter().filter_map(|domain| shared(domain, findings)).collect();
    (Mailboxes { rules, table: table.map(|(_, table)| Arc::new(table)), shared_domains }, file)
}

fn plan(written: &Written<String>, plans: &[Arc<DialPlan>], known: &Known<'_>, findings: &Findings) -> Option<Arc<str>> {
    let found = plans.iter().find(|plan| *plan.name == *written.value);
    if found.is_none() {
        let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
        unknown(written, "dial plan", "dial_plans.toml", &names, &known.plan_names, findings);
    }
    found.map(|plan| Arc::clone(&plan.name))
}

fn table(written: &Written<String>, pools: &[Arc<UmPool>], source: &dyn Source, findings: &Findings) -> Option<MailboxTable> {
    let text = match source.text(&written.value) {
        Ok(Some(text)) => text,
        Ok(None) => {
            findings.problem(written.at, format!("{} is not there", written.value), "write the file, its first line may be mailbox,pool; or remove table");
            return None;
        }
        Err(error) => {
            findings.problem(written.at, format!("{} cannot be read: {error}", written.value), "make it a UTF-8 file that this user may read");
            return None;
        }
    };
    match mailboxes::read(&written.value, &text, pools) {
        Ok(table) => Some(table),
        Err(problems) => {
            for problem in problems {
                findings.problem(written.at, format!("{}:{}: {}", written.value, problem.line, problem.what), problem.instead);
            }
            None
        }
    }
}

/// By one diverter the pool is chosen, by another it might then look for the mailbox.
fn same_keep(plan: &DialPlan, pool: &UmPool, at: &Written<String>, findings: &Findings) {
    if pool.diversion.keep != plan.um_pool.diversion.keep {
        let what = format!(
            "UM pools \"{}\" and \"{}\", both of dial plan \"{}\", are told of different diverters (keep): where two diverted, a call may reach the pool of one \
             and ask for the mailbox of the other",
            plan.um_pool.name, pool.name, plan.name
        );
        findings.warning(at.at, what, "write the same diversion = { keep = … } for both");
    }
}

fn shared(written: &Written<String>, findings: &Findings) -> Option<Arc<str>> {
    let domain = written.value.trim().to_ascii_lowercase();
    let fits = is_host_name(&domain) && domain.contains('.');
    if !fits {
        findings.problem(written.at, format!("\"{domain}\" is no domain"), "write it in full, such as \"contoso.com\"");
    }
    fits.then(|| domain.as_str().into())
}
