//! The file of the queue: a redb database (copy-on-write B-trees, checksummed, synced at each commit), so that a crash at any point leaves the state
//! before the last commit or after it, never between.

use std::io;
use std::os::unix::fs::OpenOptionsExt;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Held, Listing, Notice, Number, Outcome, Settings, Status};

/// How the tables are written. A file of a higher one is of a newer program, and is left alone.
pub const VERSION: u64 = 1;

/// Number to notice, as JSON.
const QUEUED: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("queued");
/// Number to why, and the notice as JSON.
const PARKED: TableDefinition<'static, u64, (&str, &[u8])> = TableDefinition::new("parked");
/// `version`, `next`, `delivered`, `overflowed`.
const COUNTS: TableDefinition<'static, &str, u64> = TableDefinition::new("counts");

/// What became of one that was to be queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    Queued,
    Full,
}

pub struct File {
    settings: Settings,
    /// `None` after it failed: it is opened anew, since what it holds in memory may not be what is on disk.
    database: Option<Database>,
    status: Status,
}

impl File {
    pub fn open(settings: &Settings) -> io::Result<File> {
        let mut file = File { settings: settings.clone(), database: None, status: Status::default() };
        file.with(|_, _| Ok(()))?;
        Ok(file)
    }

    /// Until it is asked for again.
    pub fn close(&mut self) {
        self.database = None;
    }

    /// As last known.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// All in one transaction, which is on disk when this returns.
    pub fn queue(&mut self, notices: &[&Notice]) -> io::Result<Vec<Put>> {
        self.with(|database, settings| {
            let write = database.begin_write()?;
            let mut puts = Vec::with_capacity(notices.len());
            {
                let (mut queued, parked, mut counts) = (write.open_table(QUEUED)?, write.open_table(PARKED)?, write.open_table(COUNTS)?);
                let mut held = redb::ReadableTableMetadata::len(&queued)? + redb::ReadableTableMetadata::len(&parked)?;
                let mut next = count(&counts, "next")?;
                let mut overflowed = 0;
                for notice in notices {
                    if held >= settings.most {
                        overflowed += 1;
                        puts.push(Put::Full);
                        continue;
                    }
                    queued.insert(next, json(notice)?.as_slice())?;
                    (next, held) = (next + 1, held + 1);
                    puts.push(Put::Queued);
                }
                let before = count(&counts, "overflowed")?;
                counts.insert("next", next)?;
                counts.insert("overflowed", before + overflowed)?;
            }
            write.commit()?;
            Ok(puts)
        })
    }

    pub fn first(&mut self) -> io::Result<Option<(Number, Notice)>> {
        self.with(|database, _| {
            let queued = database.begin_read()?.open_table(QUEUED)?;
            match queued.first()? {
                Some((number, bytes)) => Ok(Some((number.value(), read(bytes.value())?))),
                None => Ok(None),
            }
        })
    }

    /// One that is not queued any more is left as it is.
    pub fn settle(&mut self, number: Number, outcome: &Outcome) -> io::Result<()> {
        self.with(|database, _| {
            let write = database.begin_write()?;
            {
                let (mut queued, mut parked, mut counts) = (write.open_table(QUEUED)?, write.open_table(PARKED)?, write.open_table(COUNTS)?);
                let bytes = queued.remove(number)?.map(|bytes| bytes.value().to_vec());
                match (bytes, outcome) {
                    (Some(_), Outcome::Delivered) => {
                        let delivered = count(&counts, "delivered")?;
                        counts.insert("delivered", delivered + 1)?;
                    }
                    (Some(bytes), Outcome::Parked { why }) => {
                        parked.insert(number, (why.as_str(), bytes.as_slice()))?;
                    }
                    (None, _) => {}
                }
            }
            write.commit()?;
            Ok(())
        })
    }

    pub fn list(&mut self, most: usize) -> io::Result<Listing> {
        self.with(|database, _| {
            let transaction = database.begin_read()?;
            let (queued, parked) = (transaction.open_table(QUEUED)?, transaction.open_table(PARKED)?);
            let mut listing = Listing::default();
            for entry in queued.iter()?.take(most) {
                let (number, bytes) = entry?;
                listing.queued.push(held(number.value(), bytes.value(), None)?);
            }
            for entry in parked.iter()?.take(most) {
                let (number, value) = entry?;
                let (why, bytes) = value.value();
                listing.parked.push(held(number.value(), bytes, Some(why.to_owned()))?);
            }
            Ok(listing)
        })
    }

    pub fn unpark(&mut self) -> io::Result<u64> {
        self.with(|database, _| {
            let write = database.begin_write()?;
            let mut moved = 0;
            {
                let (mut queued, mut parked) = (write.open_table(QUEUED)?, write.open_table(PARKED)?);
                while let Some((number, value)) = parked.pop_first()? {
                    queued.insert(number.value(), value.value().1)?;
                    moved += 1;
                }
            }
            write.commit()?;
            Ok(moved)
        })
    }

    /// Does something with the open file; afterwards the status is that of the file, or the file is to be opened anew.
    fn with<T>(&mut self, act: impl FnOnce(&Database, &Settings) -> Result<T, Failure>) -> io::Result<T> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.settings)?,
        };
        let done = act(&database, &self.settings).and_then(|done| Ok((done, status(&database)?)));
        match done {
            Ok((done, status)) => {
                self.status = status;
                self.database = Some(database);
                Ok(done)
            }
            Err(Failure(error)) => Err(self.told(&error)),
        }
    }

    fn told(&self, error: &redb::Error) -> io::Error {
        told(&self.settings, error)
    }
}

fn told(settings: &Settings, error: &redb::Error) -> io::Error {
    let path = settings.path.display();
    let what = match error {
        redb::Error::DatabaseAlreadyOpen => format!("{path} is open already: another border runs with the same store; give each its own"),
        redb::Error::Corrupted(what) => format!("{path} is damaged ({what}): move it away, a new one is made, and what it held is lost"),
        redb::Error::UpgradeRequired(version) => {
            format!("{path} has the file format {version}, which this program does not read: use the program that wrote it")
        }
        redb::Error::Io(error) => format!("{path}: {error}; see that its folder exists, is this user's to write, and has room"),
        other => format!("{path}: {other}"),
    };
    io::Error::other(what)
}

fn open(settings: &Settings) -> io::Result<Database> {
    let make = || -> Result<Database, Failure> {
        // It says who called whom.
        let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&settings.path)?;
        let database = Database::builder().create_with_backend(redb::backends::FileBackend::new(file)?)?;
        let write = database.begin_write()?;
        let version = {
            let mut counts = write.open_table(COUNTS)?;
            write.open_table(QUEUED)?;
            write.open_table(PARKED)?;
            let version = count(&counts, "version")?;
            if version == 0 {
                counts.insert("version", VERSION)?;
            }
            version
        };
        if version > VERSION {
            return Err(Failure(redb::Error::UpgradeRequired(version as u8)));
        }
        write.commit()?;
        Ok(database)
    };
    make().map_err(|Failure(error)| told(settings, &error))
}

fn status(database: &Database) -> Result<Status, Failure> {
    let transaction = database.begin_read()?;
    let counts = transaction.open_table(COUNTS)?;
    Ok(Status {
        queued: redb::ReadableTableMetadata::len(&transaction.open_table(QUEUED)?)?,
        parked: redb::ReadableTableMetadata::len(&transaction.open_table(PARKED)?)?,
        delivered: count(&counts, "delivered")?,
        overflowed: count(&counts, "overflowed")?,
        ..Status::default()
    })
}

fn count(counts: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64, Failure> {
    Ok(counts.get(name)?.map_or(0, |count| count.value()))
}

fn held(number: Number, bytes: &[u8], why: Option<String>) -> Result<Held, Failure> {
    let notice = read(bytes)?;
    Ok(Held { number, id: notice.id, mailbox: notice.mailbox, time: notice.time, why })
}

fn json(notice: &Notice) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(notice).map_err(|error| Failure(redb::Error::Corrupted(error.to_string())))
}

fn read(bytes: &[u8]) -> Result<Notice, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure(redb::Error::Corrupted(error.to_string())))
}

/// Every kind of error of redb, as one.
struct Failure(redb::Error);

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure(error.into())
    }
}
