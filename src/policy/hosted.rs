//! Hosted UM, as Exchange Online's was until 2020: what is different in an INVITE to it.
//!
//! It knows a customer's border by the name in its certificate, and its own tenant by the host of To: anything but `<guid>.um.outlook.com` there is
//! answered 488. Destination and Organization are the two values of Lync's hosted voice mail policy; that both go into the Request-URI is published,
//! their spelling is not: here they are URI parameters.

use crate::policy::settings::{Hosted, UmPool};
use crate::policy::topology_hiding;
use crate::sip::Transport;

/// The host of To: the hosted name, or what is dialled. After a redirect it is still the name that was called.
pub fn to_host<'a>(pool: Option<&'a UmPool>, dialled: &'a str) -> &'a str {
    pool.and_then(|pool| pool.hosted.as_ref()).map_or(dialled, |hosted| &hosted.name)
}

/// The Request-URI towards a target of this pool; `called`, `host` and `port` as for [`topology_hiding::request_uri`]. Where a redirect leads is the
/// redirect's to say.
pub fn request_uri(pool: Option<&UmPool>, called: &str, host: &str, port: Option<u16>, transport: Transport) -> String {
    let Some(Hosted { name, destination, organization }) = pool.and_then(|pool| pool.hosted.as_ref()) else {
        return topology_hiding::request_uri(called, host, port, transport);
    };
    let mut uri = topology_hiding::request_uri(called, name, port.or(Some(transport.default_port())), transport);
    for (parameter, value) in [("destination", destination), ("organization", organization)] {
        if let Some(value) = value {
            uri.push_str(&format!(";{parameter}={}", topology_hiding::escaped(value)));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_hosted_name_stands_where_hosted_um_looks_for_it() {
        let called = |pool: &UmPool| (request_uri(Some(pool), "87000", "um.example", None, Transport::Tls), to_host(Some(pool), "um.example").to_owned());
        let mut pool = UmPool::new("hosted", Vec::new());
        assert_eq!(called(&pool), (String::from("sip:87000@um.example;transport=tls"), String::from("um.example")));
        let name: Arc<str> = "abc.um.outlook.com".into();
        pool.hosted = Some(Hosted { name: name.clone(), destination: None, organization: None });
        assert_eq!(called(&pool), (String::from("sip:87000@abc.um.outlook.com:5061;transport=tls"), String::from("abc.um.outlook.com")));
        pool.hosted = Some(Hosted { name, destination: Some("exap.um.outlook.com".into()), organization: Some("contoso.com,fabrikam.com".into()) });
        let (uri, _) = called(&pool);
        assert_eq!(uri, "sip:87000@abc.um.outlook.com:5061;transport=tls;destination=exap.um.outlook.com;organization=contoso.com%2Cfabrikam.com");
    }
}
