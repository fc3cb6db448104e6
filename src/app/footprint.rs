//! What the process takes of its machine, under the names every Prometheus client uses for it: the panels operators have already show it.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::vitals::head;

/// In Prometheus' text exposition. What the system does not tell is left out.
pub fn exposition(began: SystemTime) -> String {
    let mut text = head("process_cpu_seconds_total", "counter", "Processor time of all threads");
    // Writing into a String does not fail.
    let _ = writeln!(text, "process_cpu_seconds_total {}", cpu().as_secs_f64());
    if let Some(bytes) = memory() {
        text += &head("process_resident_memory_bytes", "gauge", "Memory that is really there");
        let _ = writeln!(text, "process_resident_memory_bytes {bytes}");
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        text += &head("process_open_fds", "gauge", "Open descriptors: four sockets for each stream of media, one for each connection");
        // The folder that is being read is one of them.
        let _ = writeln!(text, "process_open_fds {}", open.count().saturating_sub(1));
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        text += &head("process_max_fds", "gauge", "Descriptors the system lets this process have");
        let _ = writeln!(text, "process_max_fds {most}");
    }
    if let Ok(since) = began.duration_since(SystemTime::UNIX_EPOCH) {
        text += &head("process_start_time_seconds", "gauge", "When the process began, seconds since 1970");
        let _ = writeln!(text, "process_start_time_seconds {:.3}", since.as_secs_f64());
    }
    text
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(spent.tv_sec).unwrap_or(0), u32::try_from(spent.tv_nsec).unwrap_or(0))
}

/// Bytes that are really there, which are what a container's limit counts.
pub fn memory() -> Option<u64> {
    fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident)
}

/// Bytes, of the kernel's `VmRSS: N kB`.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{text}"))
    }

    #[test]
    fn this_process_is_measured() {
        let text = exposition(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250));
        assert!(value(&text, "process_cpu_seconds_total") > 0.0);
        assert!(value(&text, "process_resident_memory_bytes") > 1e6, "{text}");
        let (open, most) = (value(&text, "process_open_fds"), value(&text, "process_max_fds"));
        assert!(open >= 3.0 && open < most, "{text}");
        assert_eq!(value(&text, "process_start_time_seconds"), 1_700_000_000.25);
    }

    #[test]
    fn only_the_line_of_resident_memory_is_read() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 7 kB\n"), Some(1234 * 1024));
        assert_eq!(resident("VmPeak:\t 9 kB\n"), None);
        assert_eq!(resident("VmRSS:\tmuch\n"), None);
    }
}
