//! A call's record in few words, for capture servers: HOMER 5 keeps 1500 characters of a line in its database and refuses longer ones whole.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Octets; characters are no more.
pub(super) const LONGEST: usize = 1400;

/// Of each direction's media, what is worth most.
const OF_MEDIA: [&str; 9] = ["from", "received", "sent", "lost", "loss_percent", "jitter_ms", "round_trip_ms", "mos", "path"];
/// Of a text, in a record that is long for whatever reason.
const LONGEST_TEXT: usize = 60;

/// The record as it is where it is short. Of a longer one the rest is left out in turn, until it is: what the reports of media tell as well, then media, ways and
/// transfers, sentences. It stays JSON, and in it what the call came to.
pub(super) fn brief(line: &str) -> Cow<'_, str> {
    if line.len() <= LONGEST {
        return Cow::Borrowed(line);
    }
    // The line is our own.
    let Ok(Value::Object(mut record)) = serde_json::from_str(line) else { return Cow::Borrowed(line) };
    for leave_out in [rest_of_media, media, ways, sentences, all_but_words] {
        leave_out(&mut record);
        let line = serde_json::to_string(&record).unwrap_or_default();
        if line.len() <= LONGEST {
            return Cow::Owned(line);
        }
    }
    Cow::Owned(String::from("{}"))
}

fn directions(record: &mut Map<String, Value>, key: &str, each: impl Fn(&mut Map<String, Value>)) {
    let directions = record.get_mut(key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
    directions.filter_map(Value::as_object_mut).for_each(each);
}

fn rest_of_media(record: &mut Map<String, Value>) {
    directions(record, "media", |direction| direction.retain(|key, value| OF_MEDIA.contains(&key.as_str()) && !value.is_null()));
}

fn media(record: &mut Map<String, Value>) {
    record.remove("media");
}

fn ways(record: &mut Map<String, Value>) {
    record.retain(|_, value| !value.is_array() && !value.is_null());
}

fn sentences(record: &mut Map<String, Value>) {
    directions(record, "audio", |direction| drop(direction.remove("says")));
}

fn all_but_words(record: &mut Map<String, Value>) {
    record.retain(|_, value| !value.is_object());
    for value in record.values_mut() {
        if let Value::String(text) = value
            && let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT)
        {
            text.truncate(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn direction() -> Value {
        json!({ "from": "192.0.2.1:4000", "received": 400, "mos": 4.3, "lost": null, "refused": { "source": 0 }, "signalled": "x".repeat(300) })
    }

    fn record(calling: &str, hops: usize) -> String {
        let says = "y".repeat(200);
        json!({ "call": 7, "reason": "call.normal", "status": 200, "from": calling, "a": { "peer": "trunk", "mode": "secured" },
            "audio": { "a_to_b": { "cause": "audio.heard", "says": says }, "b_to_a": { "cause": "audio.heard", "says": says } },
            "media": { "a_to_b": direction(), "b_to_a": direction() },
            "redirects": vec![json!({ "from": "192.0.2.9:5060", "to": "192.0.2.10:5060", "status": 302 }); hops] })
        .to_string()
    }

    #[test]
    fn a_long_record_loses_the_rest_first_and_what_it_came_to_never() {
        let short = json!({ "call": 7 }).to_string();
        assert!(matches!(brief(&short), Cow::Borrowed(line) if line == short));
        for (calling, hops, has, lacks) in
            [("a", 3, "\"mos\":4.3", "signalled"), ("a", 12, "redirects", "\"mos\""), ("a", 40, "says", "redirects"), (&"a".repeat(5000), 0, "from", "says")]
        {
            let line = record(calling, hops);
            let brief = brief(&line);
            assert!(brief.len() <= LONGEST && line.len() > LONGEST, "{} of {}", brief.len(), line.len());
            assert!(brief.contains(has) && !brief.contains(lacks), "{has}, not {lacks}: {brief}");
            let told: Value = serde_json::from_str(&brief).unwrap();
            assert_eq!((&told["call"], &told["reason"], &told["status"]), (&7.into(), &"call.normal".into(), &200.into()));
        }
    }
}
