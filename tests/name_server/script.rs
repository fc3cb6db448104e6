//! A name server that says whatever a test wants it to, over UDP and TCP.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hickory_server::proto::op::{Message, ResponseCode};
use hickory_server::proto::rr::rdata::SOA;
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is said to a question that came by TCP or not: any number of messages, as they go out.
type Answer = dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync;

pub struct Script {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

impl Script {
    pub async fn start(answer: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Script {
        let answer: Arc<Answer> = Arc::new(answer);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (udp, tcp) = super::same_port().await;
        let address = udp.local_addr().unwrap();
        let over_udp = {
            let (answer, asked) = (answer.clone(), asked.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok((length, from)) = udp.recv_from(&mut buffer).await {
                    let Ok(query) = Message::from_vec(&buffer[..length]) else { continue };
                    note(&asked, &query, false);
                    for message in answer(&query, false) {
                        let _ = udp.send_to(&message, from).await;
                    }
                }
            })
        };
        let over_tcp = {
            let asked = asked.clone();
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = tcp.accept().await {
                    let (answer, asked) = (answer.clone(), asked.clone());
                    tokio::spawn(async move {
                        while let Ok(length) = stream.read_u16().await {
                            let mut buffer = vec![0; length.into()];
                            let Ok(_) = stream.read_exact(&mut buffer).await else { return };
                            let Ok(query) = Message::from_vec(&buffer) else { return };
                            note(&asked, &query, true);
                            for message in answer(&query, true) {
                                let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
                                let Ok(()) = stream.write_all(&framed).await else { return };
                            }
                        }
                    });
                }
            })
        };
        Script { address, asked, tasks: vec![over_udp, over_tcp] }
    }

    pub fn asked(&self, text: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|query| query.contains(text)).count()
    }
}

fn note(asked: &Mutex<Vec<String>>, query: &Message, tcp: bool) {
    let by = if tcp { "TCP" } else { "UDP" };
    asked.lock().unwrap().extend(query.queries.first().map(|query| format!("{by} {} {}", query.query_type(), query.name())));
}

/// An answer to this query with this code and no records.
pub fn code(query: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(query.id, query.op_code);
    message.metadata.response_code = code;
    message.metadata.recursion_available = true;
    message.add_queries(query.queries.clone());
    message
}

/// These records, of those that are of the kind asked for; where that leaves none, word that there are none for so many seconds.
pub fn records(query: &Message, records: &[(&str, u32, RData)], none_for: u32) -> Message {
    let kind = query.queries[0].query_type();
    let mut message = code(query, ResponseCode::NoError);
    let fitting = records.iter().filter(|(_, _, data)| [kind, RecordType::CNAME].contains(&data.record_type()));
    message.add_answers(fitting.map(|(name, ttl, data)| Record::from_rdata(name.parse().unwrap(), *ttl, data.clone())).collect::<Vec<_>>());
    if message.answers.is_empty() { nothing(query, ResponseCode::NoError, none_for) } else { message }
}

/// Word that there is nothing for so many seconds, with the SOA record that vouches for it.
pub fn nothing(query: &Message, why: ResponseCode, seconds: u32) -> Message {
    let zone: Name = "example.test.".parse().unwrap();
    let mut message = code(query, why);
    message.add_authority(Record::from_rdata(zone.clone(), seconds, RData::SOA(SOA::new(zone.clone(), zone, 1, 60, 60, 60, seconds))));
    message
}

pub fn bytes(message: &Message) -> Vec<Vec<u8>> {
    vec![message.to_vec().unwrap()]
}

/// The name asked for, as written in a policy set.
pub fn name(query: &Message) -> String {
    query.queries[0].name().to_ascii().trim_end_matches('.').to_ascii_lowercase()
}
