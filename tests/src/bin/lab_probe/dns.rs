//! A name server with a fixed zone, which prints each query.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, Question, RCODE, ResourceRecord, TYPE};

use crate::Result;

/// Seconds that an answer may be cached. It is short so that no answer outlives a test.
const TTL: u32 = 1;

/// Parses `NAME=ADDRESS`.
pub(crate) fn parse_record(text: &str) -> std::result::Result<(String, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("expected NAME=ADDRESS")?;
    let address = address.parse().map_err(|_| format!("`{address}` is no address"))?;
    Ok((name.to_lowercase(), address))
}

pub(crate) fn serve(listen: SocketAddr, records: &[(String, IpAddr)]) -> Result<()> {
    let socket = UdpSocket::bind(listen)?;
    println!("listening on {listen}");
    std::io::stdout().flush()?;
    let mut buffer = [0; 4096];
    loop {
        let (size, peer) = socket.recv_from(&mut buffer)?;
        match answer(&buffer[..size], records) {
            Ok((asked, reply)) => {
                println!("{asked} from {}", peer.ip());
                socket.send_to(&reply, peer)?;
            }
            Err(error) => eprintln!("{peer}: {error}"),
        }
    }
}

/// The question, as `TYPE NAME`, and the reply. A name that is not in the zone does not exist.
fn answer(query: &[u8], records: &[(String, IpAddr)]) -> Result<(String, Vec<u8>)> {
    let query = Packet::parse(query)?;
    let question = query.questions.first().ok_or("a query without a question")?;
    let name = question.qname.to_string().to_lowercase();
    let mut reply = Packet::new_reply(query.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_DESIRED | PacketFlag::RECURSION_AVAILABLE);
    reply.questions.push(question.clone());
    let known: Vec<IpAddr> = records.iter().filter(|(known, _)| *known == name).map(|(_, address)| *address).collect();
    if known.is_empty() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    reply.answers = known.iter().filter_map(|address| record(question, *address)).collect();
    let kind = match question.qtype {
        QTYPE::TYPE(kind) => format!("{kind:?}"),
        other => format!("{other:?}"),
    };
    Ok((format!("{kind} {name}"), reply.build_bytes_vec_compressed()?))
}

fn record<'a>(question: &Question<'a>, address: IpAddr) -> Option<ResourceRecord<'a>> {
    let data = match (question.qtype, address) {
        (QTYPE::TYPE(TYPE::A), IpAddr::V4(address)) => RData::A(A::from(address)),
        (QTYPE::TYPE(TYPE::AAAA), IpAddr::V6(address)) => RData::AAAA(AAAA::from(address)),
        _ => return None,
    };
    Some(ResourceRecord::new(question.qname.clone(), CLASS::IN, TTL, data))
}
