//! The tables on the server, and the statement that fills them.
//!
//! They are made where there are none; a user that may only insert is enough where somebody else has made them. Taking out what is old is the database's own
//! business: `DELETE FROM portcullis_calls WHERE began < now() - interval '1 year'`.

use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::Kept;
use super::link::Refused;

/// A higher one is a newer program's.
const VERSION: i32 = 1;
/// Borders that start at once make the tables one after the other.
const LOCK: i64 = 0x706f_7274_6375_6c6c;

const TABLES: &str = "
    CREATE TABLE portcullis_calls (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        border text NOT NULL,
        started timestamptz NOT NULL,
        call bigint NOT NULL,
        began timestamptz NOT NULL,
        caller text NOT NULL,
        called text NOT NULL,
        a_peer text NOT NULL,
        b_peer text,
        reason text NOT NULL,
        fault text NOT NULL,
        status integer,
        answered boolean NOT NULL,
        total_ms bigint NOT NULL,
        talk_ms bigint,
        audio_fault boolean NOT NULL,
        record jsonb NOT NULL,
        ladder text,
        UNIQUE (border, started, call)
    );
    CREATE INDEX portcullis_calls_began ON portcullis_calls (began);
    CREATE INDEX portcullis_calls_caller ON portcullis_calls (caller, began);
    CREATE INDEX portcullis_calls_called ON portcullis_calls (called, began);
    CREATE INDEX portcullis_calls_reason ON portcullis_calls (reason, began);
    CREATE TABLE portcullis_schema (version integer NOT NULL);
    INSERT INTO portcullis_schema VALUES (1);
";

/// A record that is there already, since the answer to its first sending was lost, is not stored again.
const INSERT: &str = "
    INSERT INTO portcullis_calls (border, started, call, began, caller, called, a_peer, b_peer, reason, fault, status, answered, total_ms, talk_ms, audio_fault,
        record, ladder)
    SELECT $1, to_timestamp($2::bigint / 1000.0::double precision), call, to_timestamp(began / 1000.0::double precision), caller, called, a_peer, b_peer, reason,
        fault, status, answered, total_ms, talk_ms, audio_fault, record::jsonb, ladder
    FROM unnest($3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::integer[], $12::boolean[],
        $13::bigint[], $14::bigint[], $15::boolean[], $16::text[], $17::text[])
        AS sent (call, began, caller, called, a_peer, b_peer, reason, fault, status, answered, total_ms, talk_ms, audio_fault, record, ladder)
    ON CONFLICT (border, started, call) DO NOTHING";

pub(super) async fn prepare(client: &mut Client) -> Result<(), Refused> {
    let failed = |error: tokio_postgres::Error| Refused::of(&error);
    let there = "SELECT to_regclass('portcullis_schema') IS NOT NULL";
    let is_there: bool = client.query_one(there, &[]).await.map_err(failed)?.get(0);
    if !is_there {
        let transaction = client.transaction().await.map_err(failed)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
        let is_there: bool = transaction.query_one(there, &[]).await.map_err(failed)?.get(0);
        if !is_there {
            transaction.batch_execute(TABLES).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
    }
    let version: i32 = client.query_one("SELECT max(version) FROM portcullis_schema", &[]).await.map_err(failed)?.try_get(0).unwrap_or(0);
    match version {
        VERSION => Ok(()),
        newer if newer > VERSION => {
            Err(Refused::new(format!("its tables are of a newer version of this program ({newer}); name another database, or run that version")))
        }
        _ => Err(Refused::new("its table portcullis_schema says no version; write 1 into it if portcullis_calls is as documented")),
    }
}

pub(super) async fn insert(client: &Client, border: &str, started: i64, records: &[Kept]) -> Result<(), tokio_postgres::Error> {
    let numbers = |of: fn(&Kept) -> i64| records.iter().map(of).collect::<Vec<i64>>();
    let texts = |of: fn(&Kept) -> &str| records.iter().map(|record| clean(of(record))).collect::<Vec<String>>();
    let some = |of: fn(&Kept) -> Option<&str>| records.iter().map(|record| of(record).map(clean)).collect::<Vec<Option<String>>>();
    let flags = |of: fn(&Kept) -> bool| records.iter().map(of).collect::<Vec<bool>>();
    let calls = numbers(|record| signed(record.call));
    let began = numbers(|record| record.began);
    let (caller, called) = (texts(|record| &record.caller), texts(|record| &record.called));
    let (a_peer, b_peer) = (texts(|record| &record.a_peer), some(|record| record.b_peer.as_deref()));
    let (reason, fault) = (texts(|record| record.reason), texts(|record| record.fault));
    let status: Vec<Option<i32>> = records.iter().map(|record| record.status.map(i32::from)).collect();
    let (answered, audio_fault) = (flags(|record| record.answered), flags(|record| record.audio_fault));
    let total = numbers(|record| signed(record.total_ms));
    let talk: Vec<Option<i64>> = records.iter().map(|record| record.talk_ms.map(signed)).collect();
    let (record, ladder) = (texts(|record| &record.record), some(|record| record.ladder.as_deref()));
    let values: [&(dyn ToSql + Sync); 17] = [
        &border,
        &started,
        &calls,
        &began,
        &caller,
        &called,
        &a_peer,
        &b_peer,
        &reason,
        &fault,
        &status,
        &answered,
        &total,
        &talk,
        &audio_fault,
        &record,
        &ladder,
    ];
    client.execute(INSERT, &values).await.map(drop)
}

/// The one character its text does not hold.
fn clean(text: &str) -> String {
    text.replace('\0', "")
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
