//! Tables over the locating machine: what is asked, in which order targets come, what failures mean.

use super::*;

const ALL: [Transport; 3] = [Transport::Tls, Transport::Tcp, Transport::Udp];

fn query(host: &str, port: Option<u16>, transport: Option<Transport>, allowed: &[Transport]) -> LocateQuery {
    LocateQuery { host: host.into(), port, transport, allowed: allowed.to_vec() }
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv { priority, weight, port, target: target.to_owned() }
}

fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Naptr {
    Naptr { order, preference, flags: "s".into(), services: services.into(), regexp: String::new(), replacement: replacement.into() }
}

fn addresses(all: &[&str]) -> Answer {
    Answer::Addresses(all.iter().map(|address| address.parse().unwrap()).collect())
}

/// Runs the machine against a zone; what the zone does not hold does not exist. Returns the outcome and the questions in order.
fn run_seeded(query: LocateQuery, zone: &[(&str, RecordKind, Answer)], seed: u64) -> (Located, Vec<String>) {
    let mut machine = Locating::new(query, seed);
    let mut asked = Vec::new();
    for _ in 0..4 {
        match machine.step() {
            Step::Done(located) => return (located, asked),
            Step::Ask(questions) => {
                assert!(!questions.is_empty(), "nothing to ask and not done");
                for question in &questions {
                    asked.push(format!("{:?} {}", question.kind, question.name));
                }
                // Answers come in any order.
                for question in questions.iter().rev() {
                    let entry = zone.iter().find(|(name, kind, _)| **name == *question.name && *kind == question.kind);
                    machine.answer(question, entry.map_or(Answer::None, |(_, _, answer)| answer.clone()));
                }
            }
        }
    }
    panic!("the machine does not end: {asked:?}");
}

fn run(query: LocateQuery, zone: &[(&str, RecordKind, Answer)]) -> (Located, Vec<String>) {
    run_seeded(query, zone, 7)
}

fn targets(located: &Located) -> Vec<String> {
    located.targets.as_ref().expect("targets").iter().map(|target| format!("{} {}", target.transport, target.address)).collect()
}

#[test]
fn a_port_and_a_transport_leave_only_addresses_to_ask_for() {
    let zone =
        [("sip.example.com", RecordKind::Ipv4, addresses(&["192.0.2.1", "192.0.2.2"])), ("sip.example.com", RecordKind::Ipv6, addresses(&["2001:db8::1"]))];
    let (located, asked) = run(query("SIP.Example.COM.", Some(5070), Some(Transport::Tcp), &ALL), &zone);
    assert_eq!(asked, ["Ipv6 sip.example.com", "Ipv4 sip.example.com"]);
    assert_eq!(targets(&located), ["TCP [2001:db8::1]:5070", "TCP 192.0.2.1:5070", "TCP 192.0.2.2:5070"]);
    assert!(located.complete);
}

#[test]
fn a_services_own_name_leads_to_its_hosts_and_to_nothing_else() {
    let name = "_sipinternaltls._tcp.corp.example";
    let zone = [
        (name, RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5061, "a.corp.example."), srv(2, 1, 5063, "b.corp.example.")])),
        ("a.corp.example", RecordKind::Ipv4, addresses(&["10.0.0.1"])),
        ("b.corp.example", RecordKind::Ipv4, addresses(&["10.0.0.2"])),
    ];
    let (located, asked) = run(query(name, None, Some(Transport::Tls), &ALL), &zone);
    assert_eq!(asked[0], format!("Srv {name}"), "not _sips._tcp of it");
    assert_eq!(targets(&located), ["TLS 10.0.0.1:5061", "TLS 10.0.0.2:5063"]);
    assert_eq!(targets(&run(query(name, Some(5071), Some(Transport::Tls), &ALL), &zone).0), ["TLS 10.0.0.1:5071", "TLS 10.0.0.2:5071"]);
    let addresses_only = [(name, RecordKind::Ipv4, addresses(&["10.0.0.9"])), ("corp.example", RecordKind::Ipv4, addresses(&["10.0.0.9"]))];
    let (located, asked) = run(query(name, None, Some(Transport::Tls), &ALL), &addresses_only);
    assert_eq!((located.targets, asked.len()), (Err(LocateError::NotFound), 1), "the domain's own address is not the service's");
}

#[test]
fn of_too_many_records_always_the_same_are_taken_whatever_their_order() {
    let many = |from: u8| (0..60u8).map(|n| IpAddr::from([192, 0, 2, (from + n) % 60])).collect::<Vec<_>>();
    let hosts = |from: usize| (0..100).map(|n| srv(1, 1, 5060, &format!("h{:02}.example.", (from + n) % 100))).collect::<Vec<_>>();
    let outcome = |from: u8| {
        let mut zone: Vec<(String, RecordKind, Answer)> =
            (0..100).map(|n| (format!("h{n:02}.example"), RecordKind::Ipv4, Answer::Addresses(vec![IpAddr::from([198, 51, 100, n])]))).collect();
        zone.push(("many.example".into(), RecordKind::Ipv4, Answer::Addresses(many(from))));
        zone.push(("_sip._udp.pool.example".into(), RecordKind::Srv, Answer::Srv(hosts(from.into()))));
        let zone: Vec<(&str, RecordKind, Answer)> = zone.iter().map(|(name, kind, answer)| (name.as_str(), *kind, answer.clone())).collect();
        let of = |host, port| {
            let mut all = targets(&run(query(host, port, Some(Transport::Udp), &ALL), &zone).0);
            all.sort();
            all
        };
        (of("many.example", Some(5060)), of("pool.example", None))
    };
    let first = outcome(0);
    assert_eq!((first.0.len(), first.1.len()), (ADDRESSES, SRV_RECORDS));
    for from in [1, 17, 59] {
        assert_eq!(outcome(from), first, "rotated by {from}");
    }
}

#[test]
fn a_port_without_a_transport_goes_by_udp_or_the_next_policy_allows() {
    let zone = [("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
    for (allowed, expected) in
        [(&ALL[..], "UDP 192.0.2.1:5070"), (&[Transport::Tls, Transport::Tcp][..], "TCP 192.0.2.1:5070"), (&[Transport::Tls][..], "TLS 192.0.2.1:5070")]
    {
        assert_eq!(targets(&run(query("h.example", Some(5070), None, allowed), &zone).0), [expected]);
    }
    let (located, asked) = run(query("h.example", Some(5070), None, &[]), &zone);
    assert_eq!((located.targets, asked.len()), (Err(LocateError::NotFound), 0));
}

#[test]
fn a_transport_without_a_port_asks_srv_first_and_falls_back_to_the_default_port() {
    for (transport, service, port) in
        [(Transport::Udp, "_sip._udp.h.example", 5060), (Transport::Tcp, "_sip._tcp.h.example", 5060), (Transport::Tls, "_sips._tcp.h.example", 5061)]
    {
        let zone = [("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
        let (located, asked) = run(query("h.example", None, Some(transport), &ALL), &zone);
        assert_eq!(asked, [format!("Srv {service}"), "Ipv6 h.example".into(), "Ipv4 h.example".into()]);
        assert_eq!(targets(&located), [format!("{transport} 192.0.2.1:{port}")]);
    }
}

#[test]
fn srv_hosts_come_by_priority_and_each_ipv6_first() {
    let zone = [
        ("_sips._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(20, 0, 5071, "b.h.example."), srv(10, 0, 5061, "A.h.example.")])),
        ("a.h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"])),
        ("a.h.example", RecordKind::Ipv6, addresses(&["2001:db8::1"])),
        ("b.h.example", RecordKind::Ipv4, addresses(&["192.0.2.2"])),
        ("b.h.example", RecordKind::Ipv6, addresses(&["2001:db8::2"])),
    ];
    let (located, _) = run(query("h.example", None, Some(Transport::Tls), &ALL), &zone);
    assert_eq!(targets(&located), ["TLS [2001:db8::1]:5061", "TLS 192.0.2.1:5061", "TLS [2001:db8::2]:5071", "TLS 192.0.2.2:5071"]);
}

#[test]
fn weights_share_the_first_place_in_proportion() {
    let zone = [
        ("_sip._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 0, 1, "zero"), srv(1, 30, 1, "three"), srv(1, 10, 1, "one"), srv(2, 999, 1, "last")])),
        ("zero", RecordKind::Ipv4, addresses(&["192.0.2.100"])),
        ("one", RecordKind::Ipv4, addresses(&["192.0.2.1"])),
        ("three", RecordKind::Ipv4, addresses(&["192.0.2.3"])),
        ("last", RecordKind::Ipv4, addresses(&["192.0.2.9"])),
    ];
    let mut first = HashMap::<String, u32>::new();
    for seed in 0..4000u64 {
        let (located, _) = run_seeded(query("h.example", None, Some(Transport::Tcp), &ALL), &zone, seed.wrapping_mul(0x5851_f42d_4c95_7f2d));
        let all = targets(&located);
        assert_eq!(all.len(), 4, "every record is a target");
        assert_eq!(all[3], "TCP 192.0.2.9:1", "a later priority never comes before an earlier one");
        *first.entry(all[0].clone()).or_default() += 1;
    }
    // 30 : 10, and weight 0 drawn with probability 1/41.
    let share = |address: &str| f64::from(first.get(address).copied().unwrap_or(0)) / 4000.0;
    assert!((share("TCP 192.0.2.3:1") - 30.0 / 41.0).abs() < 0.04, "{first:?}");
    assert!((share("TCP 192.0.2.1:1") - 10.0 / 41.0).abs() < 0.04, "{first:?}");
    assert!(share("TCP 192.0.2.100:1") > 0.005 && share("TCP 192.0.2.100:1") < 0.06, "{first:?}");
}

#[test]
fn the_same_seed_gives_the_same_order() {
    let records = (0..10).map(|n| srv(1, n, 5060, &format!("192.0.2.{n}"))).collect();
    let zone = [("_sip._udp.h.example", RecordKind::Srv, Answer::Srv(records))];
    let order = |seed| targets(&run_seeded(query("h.example", None, Some(Transport::Udp), &ALL), &zone, seed).0);
    assert_eq!(order(3), order(3));
    assert!((0..50).any(|seed| order(seed) != order(3)), "the order does not depend on the seed");
}

#[test]
fn naptr_chooses_the_transport_in_the_domains_order_among_those_allowed() {
    let records = vec![
        naptr(50, 50, "SIP+D2U", "_sip._udp.h.example."),
        naptr(10, 20, "SIP+D2T", "_sip._tcp.h.example."),
        naptr(10, 10, "sips+d2t", "_sips._tcp.other.example."),
        naptr(1, 1, "SIP+D2S", "_sip._sctp.h.example."),
        Naptr { flags: "u".into(), regexp: "!^.*$!sip:x@y!".into(), ..naptr(1, 1, "E2U+sip", "") },
    ];
    let zone = [
        ("h.example", RecordKind::Naptr, Answer::Naptr(records)),
        ("_sips._tcp.other.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5061, "192.0.2.1")])),
        ("_sip._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5060, "192.0.2.2")])),
        ("_sip._udp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5060, "192.0.2.3")])),
    ];
    let (located, asked) = run(query("h.example", None, None, &ALL), &zone);
    assert_eq!(targets(&located), ["TLS 192.0.2.1:5061", "TCP 192.0.2.2:5060", "UDP 192.0.2.3:5060"]);
    assert_eq!(asked[0], "Naptr h.example");
    // What policy does not allow is not even asked for.
    let (located, asked) = run(query("h.example", None, None, &[Transport::Tls]), &zone);
    assert_eq!(targets(&located), ["TLS 192.0.2.1:5061"]);
    assert_eq!(asked, ["Naptr h.example", "Srv _sips._tcp.other.example"]);
}

#[test]
fn without_naptr_the_strongest_allowed_transport_with_srv_comes_first() {
    let zone = [
        ("_sip._udp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5060, "192.0.2.3")])),
        ("_sips._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(9, 1, 5061, "192.0.2.1")])),
    ];
    assert_eq!(targets(&run(query("h.example", None, None, &ALL), &zone).0), ["TLS 192.0.2.1:5061", "UDP 192.0.2.3:5060"]);
}

#[test]
fn without_naptr_and_srv_the_domains_addresses_go_by_the_default_transport() {
    let zone = [("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
    assert_eq!(targets(&run(query("h.example", None, None, &ALL), &zone).0), ["UDP 192.0.2.1:5060"]);
    assert_eq!(targets(&run(query("h.example", None, None, &[Transport::Tls]), &zone).0), ["TLS 192.0.2.1:5061"]);
}

#[test]
fn a_naptr_that_fails_is_passed_over() {
    let zone = [("h.example", RecordKind::Naptr, Answer::Failed), ("_sip._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(1, 1, 5060, "192.0.2.3")]))];
    let (located, _) = run(query("h.example", None, None, &ALL), &zone);
    assert_eq!(targets(&located), ["TCP 192.0.2.3:5060"]);
    assert!(!located.complete);
}

#[test]
fn an_srv_question_that_fails_does_not_lead_to_the_domains_own_address() {
    let zone = [("_sips._tcp.h.example", RecordKind::Srv, Answer::Failed), ("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
    let (located, _) = run(query("h.example", None, Some(Transport::Tls), &ALL), &zone);
    assert_eq!(located, Located { targets: Err(LocateError::Failed), complete: false });
}

#[test]
fn a_service_denied_by_a_single_dot_is_not_found() {
    let zone = [("_sips._tcp.h.example", RecordKind::Srv, Answer::Srv(vec![srv(0, 0, 0, ".")])), ("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
    let (located, _) = run(query("h.example", None, Some(Transport::Tls), &ALL), &zone);
    assert_eq!(located, Located { targets: Err(LocateError::NotFound), complete: true });
}

#[test]
fn nothing_at_all_is_not_found_but_a_timeout_is_failed() {
    let (located, _) = run(query("h.example", Some(5060), Some(Transport::Udp), &ALL), &[]);
    assert_eq!(located, Located { targets: Err(LocateError::NotFound), complete: true });
    let (located, _) = run(query("h.example", Some(5060), Some(Transport::Udp), &ALL), &[("h.example", RecordKind::Ipv6, Answer::Failed)]);
    assert_eq!(located, Located { targets: Err(LocateError::Failed), complete: false });
}

#[test]
fn one_family_failing_leaves_the_other_but_is_told() {
    let zone = [("h.example", RecordKind::Ipv6, Answer::Failed), ("h.example", RecordKind::Ipv4, addresses(&["192.0.2.1"]))];
    let (located, _) = run(query("h.example", Some(5060), Some(Transport::Udp), &ALL), &zone);
    assert_eq!(targets(&located), ["UDP 192.0.2.1:5060"]);
    assert!(!located.complete);
}

#[test]
fn broken_records_do_not_spoil_their_neighbours() {
    let records = vec![srv(1, 1, 0, "noport.example"), srv(1, 1, 5060, "."), srv(1, 1, 5060, "gone.example"), srv(9, 1, 5060, "good.example")];
    let zone = [("_sip._tcp.h.example", RecordKind::Srv, Answer::Srv(records)), ("good.example", RecordKind::Ipv4, addresses(&["192.0.2.1", "192.0.2.1"]))];
    assert_eq!(targets(&run(query("h.example", None, Some(Transport::Tcp), &ALL), &zone).0), ["TCP 192.0.2.1:5060"]);
}

#[test]
fn a_domain_with_very_many_records_is_bounded() {
    let records: Vec<Srv> = (0..2000).map(|n| srv(n % 7, n, 5060, &format!("h{n}.example"))).collect();
    let mut machine = Locating::new(query("h.example", None, Some(Transport::Tcp), &ALL), 1);
    machine.answer(&Question { name: "_sip._tcp.h.example".into(), kind: RecordKind::Srv }, Answer::Srv(records));
    let Step::Ask(questions) = machine.step() else { panic!("hosts to ask for") };
    assert_eq!(questions.len(), 2 * HOSTS);
    let many: Vec<IpAddr> = (0..1000u32).map(|n| IpAddr::from(std::net::Ipv4Addr::from(0xc000_0000 + n))).collect();
    for question in &questions {
        machine.answer(question, Answer::Addresses(many.clone()));
    }
    let Step::Done(located) = machine.step() else { panic!("done") };
    assert_eq!(located.targets.map(|targets| targets.len()), Ok(ADDRESSES), "all hosts have the same addresses");
}

#[test]
fn an_answer_to_a_question_never_asked_or_of_another_kind_is_no_answer() {
    let mut machine = Locating::new(query("h.example", Some(5060), Some(Transport::Udp), &ALL), 1);
    let before = machine.step();
    machine.answer(&Question { name: "evil.example".into(), kind: RecordKind::Ipv4 }, addresses(&["203.0.113.6"]));
    assert_eq!(machine.step(), before);
    machine.answer(&Question { name: "h.example".into(), kind: RecordKind::Ipv4 }, Answer::Srv(vec![srv(1, 1, 1, "x")]));
    machine.answer(&Question { name: "h.example".into(), kind: RecordKind::Ipv6 }, addresses(&["192.0.2.1"]));
    assert_eq!(machine.step(), Step::Done(Located { targets: Err(LocateError::Failed), complete: false }));
}
