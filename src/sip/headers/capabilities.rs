//! What the other end can and demands: Supported, Require, Allow (RFC 3261 §20.5, §20.32, §20.37).

use crate::sip::{HeaderName, Message, Method};

impl Message {
    /// Whether `option_tag` is in Supported or Require: who requires an extension supports it.
    pub fn supports(&self, option_tag: &str) -> bool {
        self.has_tag(HeaderName::Supported, option_tag) || self.requires(option_tag)
    }

    pub fn requires(&self, option_tag: &str) -> bool {
        self.has_tag(HeaderName::Require, option_tag)
    }

    /// Whether Allow names the method. False without an Allow header, which then says nothing.
    pub fn allows(&self, method: &Method) -> bool {
        self.values(HeaderName::Allow).any(|value| value == method.as_str().as_bytes())
    }

    fn has_tag(&self, name: HeaderName, option_tag: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(option_tag.as_bytes()))
    }
}
