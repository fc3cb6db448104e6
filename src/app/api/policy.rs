//! The policy set in force, and every way to another: checked, compared, activated, gone back (`dry_run` tries one on recorded calls).
//!
//! Who may change it may also ask about another, since a set names files of this machine and the answer tells whether they are there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk, Task, Told};
use crate::adapters::api::{Operator, Outcome, Problem};
use crate::app::diff::{self, Change};
use crate::app::policy_sets::texts::Texts;
use crate::app::policy_sets::{About, Adoption, How};
use crate::app::reloading::restart_needed;
use crate::config::{self, Settings};
use crate::policy::settings::PolicySet;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new()
        .routes(routes!(policy))
        .routes(routes!(reload))
        .routes(routes!(validate))
        .routes(routes!(compare))
        .routes(routes!(activate))
        .routes(routes!(rollback))
}

/// The set in force and those kept before it.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyInForce)]
struct InForce {
    /// Number of its load: 1 at start, one more with each reload, activation or rollback.
    number: u64,
    peer_table: u64,
    /// The folder the border was started on.
    folder: Option<String>,
    /// The folder holds another set than the one in force; null where it cannot be read.
    folder_differs: Option<bool>,
    /// Null where the border was not started on a folder.
    set: Option<About>,
    files: Vec<PolicyFile>,
    parts: Parts,
    /// What can be gone back to, newest first.
    earlier: Vec<About>,
    /// Where those are kept over a restart.
    kept_in: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct PolicyFile {
    name: String,
    bytes: usize,
    lines: usize,
}

/// How many of each.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyParts)]
struct Parts {
    peers: usize,
    um_pools: usize,
    dial_plans: usize,
    hunt_groups: usize,
    toll_rules: usize,
    mailbox_rules: usize,
}

/// The policy set in force, and those before it that can be gone back to.
#[utoipa::path(get, path = "/v1/policy", tag = "policy", responses((status = 200, body = InForce)))]
async fn policy(State(desk): Behind) -> Answered<InForce> {
    let peer_table = desk.resolver.tables().borrow().number;
    off_the_loop(move || {
        let sets = &desk.policy_sets;
        let (settings, now) = (sets.settings(), sets.now());
        let set: &PolicySet = &settings.policy;
        let file = |(name, text): (&str, &str)| PolicyFile { name: String::from(name), bytes: text.len(), lines: text.lines().count() };
        Ok(Json(InForce {
            number: set.number,
            peer_table,
            folder: sets.folder().map(|folder| folder.display().to_string()),
            folder_differs: sets.folder_differs(),
            files: now.iter().flat_map(|now| now.texts.files()).map(file).collect(),
            set: now.map(|now| now.about),
            parts: Parts {
                peers: set.peers.len(),
                um_pools: set.um_pools.len(),
                dial_plans: set.dial_plans.len(),
                hunt_groups: set.hunt_groups.len(),
                toll_rules: set.toll.len(),
                mailbox_rules: set.mailboxes.rules.len(),
            },
            earlier: sets.earlier().into_iter().map(|earlier| earlier.about).collect(),
            kept_in: settings.policy_sets.folder.as_ref().map(|folder| folder.display().to_string()),
        }))
    })
    .await
}

/// Loads the whole policy set and its certificates anew, as SIGHUP does, all or nothing.
#[utoipa::path(post, path = "/v1/reload", tag = "policy", responses((status = 200, body = Told)))]
async fn reload(State(desk): Behind, Extension(operator): Extension<Operator>) -> Changed {
    changed(&desk, operator, Task::Reload).await
}

/// What is told, and for the account which set took the place of which.
type Changed = Result<(Extension<Outcome>, Json<Told>), Problem>;

async fn changed(desk: &Desk, operator: Operator, task: Task) -> Changed {
    let sets = &desk.policy_sets;
    let digest = || sets.now().map_or_else(|| String::from("none of a folder"), |now| now.about.digest);
    let (before, settings) = (digest(), sets.settings());
    let told = desk.order(operator, task).await?;
    let (parts, until_restart) = (diff::changes(&settings, &sets.settings()).len(), sets.now().is_some_and(|now| now.about.until_restart));
    let until = if until_restart { "; until the next start only" } else { "" };
    let outcome = format!("in force: set {}, before it {before}; {parts} parts of what runs are others{until}", digest());
    Ok((Extension(Outcome(outcome)), Json(told)))
}

/// A policy set: its files, or the folder on the border's machine that has them. Relative paths in it lead from the border's own folder.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicySetGiven)]
pub(super) struct Given {
    /// Texts by the names of their files.
    pub files: Option<BTreeMap<String, String>>,
    #[schema(example = "/etc/portcullis-next")]
    pub folder: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Validated {
    valid: bool,
    /// Of the set's texts.
    digest: String,
    /// Of the set it would take the place of.
    in_force: Option<String>,
    problems: Vec<Finding>,
    warnings: Vec<String>,
    /// Parts whose change a reload cannot carry out.
    restart: Vec<String>,
    /// What stands against putting it into the border's folder; null: nothing, or it is there.
    hindrance: Option<String>,
}

/// What is wrong, where, and what to write instead.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyProblem)]
struct Finding {
    file: String,
    line: u32,
    column: u32,
    what: String,
    instead: String,
}

/// Whether a policy set could be activated; everything that is wrong with it.
#[utoipa::path(post, path = "/v1/policy/validate", tag = "policy", request_body = Given, responses((status = 200, body = Validated)))]
async fn validate(State(desk): Behind, body: Result<Json<Given>, JsonRejection>) -> Answered<Validated> {
    let given = read(body)?;
    off_the_loop(move || {
        let (folder, texts) = texts(&desk, given)?;
        let in_force = desk.policy_sets.now().map(|now| now.about.digest);
        let hindrance = desk.policy_sets.hindrance(&texts);
        let mut validated =
            Validated { valid: false, digest: texts.digest(), in_force, problems: Vec::new(), warnings: Vec::new(), restart: Vec::new(), hindrance };
        match texts.load(&folder) {
            Ok((settings, warnings)) => {
                validated.valid = true;
                validated.warnings = warnings.iter().map(ToString::to_string).collect();
                validated.restart = restart_needed(&desk.policy_sets.settings(), &settings);
            }
            Err(problems) => validated.problems = problems.0.into_iter().map(finding).collect(),
        }
        Ok(Json(validated))
    })
    .await
}

fn finding(problem: config::Problem) -> Finding {
    let config::Problem { file, line, column, what, instead } = problem;
    Finding { file: String::from(file), line, column, what, instead }
}

#[derive(Serialize, ToSchema)]
#[schema(as = PolicyDifference)]
struct Compared {
    same: bool,
    changes: Vec<Change>,
    /// The same as people read it.
    lines: Vec<String>,
    /// Parts whose change a reload cannot carry out.
    restart: Vec<String>,
}

/// What a policy set would change.
#[utoipa::path(post, path = "/v1/policy/diff", tag = "policy", request_body = Given, responses((status = 200, body = Compared)))]
async fn compare(State(desk): Behind, body: Result<Json<Given>, JsonRejection>) -> Answered<Compared> {
    let given = read(body)?;
    off_the_loop(move || {
        let (_, candidate) = loaded(&desk, given)?;
        let in_force = desk.policy_sets.settings();
        let changes = diff::changes(&in_force, &candidate);
        let lines = changes.iter().flat_map(Change::lines).collect();
        let restart = restart_needed(&in_force, &candidate);
        Ok(Json(Compared { same: changes.is_empty(), changes, lines, restart }))
    })
    .await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Activation {
    /// As for `/v1/policy/validate`.
    files: Option<BTreeMap<String, String>>,
    folder: Option<String>,
    /// Leaves the border's folder as it is: at the next start what lies there comes into force.
    #[serde(default)]
    until_restart: bool,
    /// Writes over what the folder holds even where that was never in force.
    #[serde(default)]
    overwrite: bool,
    /// Only over the set of this digest, as it was when one looked at what would change.
    over: Option<String>,
}

/// Takes a policy set into force, all or nothing, and puts it into the border's folder.
#[utoipa::path(post, path = "/v1/policy/activate", tag = "policy", request_body = Activation, responses((status = 200, body = Told)))]
async fn activate(State(desk): Behind, Extension(operator): Extension<Operator>, body: Result<Json<Activation>, JsonRejection>) -> Changed {
    let Activation { files, folder, until_restart, overwrite, over } = read(body)?;
    let of_texts = Arc::clone(&desk);
    let (_, texts) = off_the_loop(move || texts(&of_texts, Given { files, folder })).await?;
    let adoption = Adoption { texts, how: How::Activated, until_restart, overwrite, over };
    changed(&desk, operator, Task::Adopt(Box::new(adoption))).await
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// Digest of a kept set, or six characters of it or more; nothing: the one before the one in force.
    to: Option<String>,
    #[serde(default)]
    until_restart: bool,
    #[serde(default)]
    overwrite: bool,
}

/// Takes an earlier policy set into force again, and puts it into the border's folder.
#[utoipa::path(post, path = "/v1/policy/rollback", tag = "policy", request_body = Rollback, responses((status = 200, body = Told)))]
async fn rollback(State(desk): Behind, Extension(operator): Extension<Operator>, body: Result<Json<Rollback>, JsonRejection>) -> Changed {
    let Rollback { to, until_restart, overwrite } = read(body)?;
    let back = desk.policy_sets.back(to.as_deref()).map_err(|why| Problem::new(StatusCode::NOT_FOUND, why))?;
    let adoption = Adoption { texts: Texts::clone(&back.texts), how: How::RolledBack, until_restart, overwrite, over: None };
    changed(&desk, operator, Task::Adopt(Box::new(adoption))).await
}

pub(super) fn read<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|rejection| wrong(rejection.body_text()))
}

/// The border's folder, and the set that was given.
fn texts(desk: &Desk, given: Given) -> Result<(PathBuf, Texts), Problem> {
    let folder = desk.policy_sets.folder();
    let folder = folder.ok_or_else(|| Problem::new(StatusCode::CONFLICT, "this border was not started on the folder of a policy set"))?;
    let texts = match given {
        Given { files: Some(files), folder: None } => Texts::new(files),
        Given { files: None, folder: Some(folder) } if Path::new(&folder).is_absolute() => Texts::read(Path::new(&folder)),
        Given { files: None, folder: Some(folder) } => Err(format!("folder {folder}: write the whole path")),
        _ => Err(String::from("give the set's files, or the folder that has them")),
    };
    texts.map(|texts| (folder, texts)).map_err(wrong)
}

/// The set that was given, as it would be in force.
pub(super) fn loaded(desk: &Desk, given: Given) -> Result<(PathBuf, Settings), Problem> {
    let (folder, texts) = texts(desk, given)?;
    match texts.load(&folder) {
        Ok((settings, _)) => Ok((folder, settings)),
        Err(problems) => Err(wrong(format!("the set has problems:\n{problems}"))),
    }
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// Files are read and calls gone through where nobody else waits.
pub(super) async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
}
