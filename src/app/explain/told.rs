//! An explanation as JSON: what `explain --json` prints and the API answers, with the types its document is made of.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::deciding::{Explanation, Verdict};
use super::start_line;
use crate::config::Settings;
use crate::policy::flow::Flow;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::MediaPlan;
use crate::policy::settings::{Peer, SecurityMode};
use crate::policy::verdict::{Decision, Fault, Reason};
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

/// What the border would do with a message, and by which rules.
#[derive(Serialize, ToSchema)]
pub struct Explained {
    /// Its start line.
    message: String,
    #[schema(value_type = String)]
    from: SocketAddr,
    #[schema(value_type = String)]
    transport: Transport,
    /// Number of the set's load.
    policy_set: u64,
    peer_table: u64,
    /// What was taken to be so, since nothing said it.
    assumed: Vec<String>,
    /// In the order in which they were made.
    decisions: Vec<Step>,
    outcome: Came,
}

/// One decision.
#[derive(Serialize, ToSchema)]
pub struct Step {
    stage: &'static str,
    rule: String,
    /// A reason code; null: passed.
    #[schema(value_type = Option<String>)]
    refused: Option<Reason>,
    /// Values by their names.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    compared: serde_json::Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Came {
    /// A new call, its legs planned.
    Admitted(Box<Way>),
    /// No new call, and the border takes it.
    Allowed { what: &'static str },
    Refused {
        /// The SIP status the other side gets; null: it hears nothing.
        status: Option<u16>,
        #[schema(value_type = String)]
        reason: Reason,
        #[schema(value_type = String)]
        fault: Fault,
        meaning: &'static str,
        /// What an operator does about it.
        remedy: &'static str,
    },
}

#[derive(Serialize, ToSchema)]
struct Way {
    #[schema(value_type = String)]
    peer: Arc<str>,
    #[schema(value_type = Option<String>)]
    dial_plan: Option<Arc<str>>,
    #[schema(value_type = Option<String>)]
    hunt_group: Option<Arc<str>>,
    /// Peers, in the order in which they would be tried.
    #[schema(value_type = Vec<String>)]
    targets: Vec<Arc<str>>,
    /// Of targets with a limit on calls to them (`calls_to`, `rate_to`).
    target_limits: Vec<TargetLimit>,
    called: String,
    a_leg: Leg,
    b_leg: Leg,
    /// What the first target would be sent.
    sent_on: Vec<Field>,
    carried: Vec<Field>,
    /// Names of header fields that do not cross.
    stays_behind: Vec<String>,
}

/// How many calls a target may have; one without room is passed over for the next.
#[derive(Serialize, ToSchema)]
struct TargetLimit {
    #[schema(value_type = String)]
    target: Arc<str>,
    /// Calls at once; null: no limit.
    calls: Option<u32>,
    /// New calls a second; null: no limit.
    rate: Option<u32>,
    /// Calls that go there now; null: no running border was asked.
    under_way: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct Leg {
    #[schema(value_type = String)]
    mode: SecurityMode,
    #[schema(value_type = Vec<String>)]
    suites: Vec<Suite>,
}

#[derive(Serialize, ToSchema)]
struct Field {
    name: String,
    value: String,
}

pub fn of(settings: &Settings, table: &PeerTable, flow: &Flow, assumed: &[String], explanation: &Explanation) -> Explained {
    Explained {
        message: start_line(explanation),
        from: flow.remote,
        transport: flow.transport,
        policy_set: settings.policy.number,
        peer_table: table.number,
        assumed: assumed.to_vec(),
        decisions: explanation.trail.iter().map(step).collect(),
        outcome: came(explanation),
    }
}

impl Explained {
    /// With the calls that go to each target that has a limit.
    pub fn with_load(mut self, under_way: impl Fn(&str) -> u32) -> Explained {
        if let Came::Admitted(way) = &mut self.outcome {
            way.target_limits.iter_mut().for_each(|limit| limit.under_way = Some(under_way(&limit.target)));
        }
        self
    }

    pub fn as_value(&self) -> Value {
        // Nothing in it can fail to be JSON.
        serde_json::to_value(self).unwrap_or_default()
    }
}

fn step(decision: &Decision) -> Step {
    Step {
        stage: decision.stage,
        rule: decision.rule.clone().into_owned(),
        refused: decision.refused,
        compared: decision.compared.iter().map(|(name, value)| (String::from(*name), Value::from(&**value))).collect(),
    }
}

fn came(explanation: &Explanation) -> Came {
    match &explanation.verdict {
        Verdict::Admitted(admitted) => Came::Admitted(Box::new(Way {
            peer: Arc::clone(&admitted.peer.name),
            dial_plan: admitted.plan.as_ref().map(|plan| Arc::clone(&plan.name)),
            hunt_group: admitted.hunt_group.as_ref().map(|group| Arc::clone(&group.name)),
            targets: admitted.targets.iter().map(|peer| Arc::clone(&peer.name)).collect(),
            target_limits: admitted.targets.iter().filter(|peer| peer.limits_towards.is_any()).map(|peer| target_limit(peer)).collect(),
            called: admitted.called.clone(),
            a_leg: leg(&admitted.a),
            b_leg: leg(&admitted.b),
            sent_on: explanation.preview.iter().map(|(name, value)| Field { name: String::from(*name), value: value.clone() }).collect(),
            carried: explanation
                .carried
                .iter()
                .flat_map(|carried| &carried.headers)
                .map(|(name, value)| Field { name: String::from(name.as_str()), value: value.to_string() })
                .collect(),
            stays_behind: explanation.behind.clone(),
        })),
        Verdict::Allowed(what) => Came::Allowed { what },
        Verdict::Refused(reason) => Came::Refused {
            status: reason.status().filter(|_| !explanation.is_silence()),
            reason: *reason,
            fault: reason.fault(),
            meaning: reason.meaning(),
            remedy: reason.remedy(),
        },
    }
}

fn target_limit(peer: &Peer) -> TargetLimit {
    TargetLimit { target: Arc::clone(&peer.name), calls: peer.limits_towards.calls, rate: peer.limits_towards.rate, under_way: None }
}

fn leg(plan: &MediaPlan) -> Leg {
    Leg { mode: plan.mode(), suites: plan.suites().to_vec() }
}
