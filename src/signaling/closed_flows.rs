//! Which stream connections have ended, for choosing the way of a request in a dialog (RFC 3261 §12.2.1.1, §18.1.1).

use std::collections::{HashSet, VecDeque};

use crate::policy::flow::FlowId;

/// The most recent stream connections that ended: an in-dialog request must not wait for one of them.
#[derive(Default)]
pub struct ClosedFlows {
    known: HashSet<FlowId>,
    order: VecDeque<FlowId>,
}

impl ClosedFlows {
    const REMEMBERED: usize = 65_536;

    pub fn note(&mut self, flow: FlowId) {
        if self.known.insert(flow) {
            self.order.push_back(flow);
        }
        if self.order.len() > ClosedFlows::REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn contains(&self, flow: FlowId) -> bool {
        self.known.contains(&flow)
    }
}
