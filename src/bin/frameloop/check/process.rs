//! The server's process, as `proc(5)` tells of it.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// A process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What lies in the machine's memory.
    pub(crate) resident: u64,
    /// What was allocated and can be written, touched or not.
    pub(crate) data: u64,
}

impl Process {
    /// A process whose figures can be read.
    pub(crate) fn of(pid: u32) -> Result<Self, String> {
        let process = Self { pid };
        process.memory().and(process.descriptors()).and(process.cpu_time()).map(|_| process).map_err(|_| {
            format!(
                "the figures of process {pid} cannot be read: give the pid of a server that runs as the same user here"
            )
        })
    }

    pub(crate) fn memory(self) -> Result<Memory, String> {
        let status = self.read("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
            Some(kibibytes * 1_024)
        };
        match (field("VmRSS:"), field("VmData:")) {
            (Some(resident), Some(data)) => Ok(Memory { resident, data }),
            _ => Err(format!("process {} has ended", self.pid)),
        }
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(self) -> Result<u64, String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid));
        entries.map(|entries| entries.count() as u64).map_err(|error| self.unreadable("fd", &error))
    }

    /// How many descriptors may be open.
    pub(crate) fn descriptors_max(self) -> Result<u64, String> {
        let limits = self.read("limits")?;
        let soft = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next());
        Ok(soft.and_then(|soft| soft.parse().ok()).unwrap_or(u64::MAX))
    }

    /// The processor time of all threads so far, those included that have ended.
    pub(crate) fn cpu_time(self) -> Result<Duration, String> {
        let stat = self.read("stat")?;
        // The name of the program may hold blanks and brackets; what follows the last bracket begins with field 3.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
        match (ticks(14), ticks(15)) {
            (Some(user), Some(system)) => Ok(Duration::from_millis((user + system) * MILLIS_PER_TICK)),
            _ => Err(format!("the processor time of process {} cannot be read", self.pid)),
        }
    }

    /// How long all threads together have run, or were ready to run and waited for a processor; those that have ended do not
    /// count. `None` where the kernel does not tell.
    fn wanted_time(self) -> Option<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.pid)).ok()? {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            let mut fields = text.split_whitespace().map_while(|field| field.parse::<u64>().ok());
            nanos += fields.next()? + fields.next()?;
        }
        Some(Duration::from_nanos(nanos))
    }

    /// The share of one processor that is used, or waited for on a busy machine, from now on; the least of a few looks, so that
    /// an end of earlier work is not counted.
    pub(crate) fn cpu_share(self) -> Result<f64, String> {
        let mut least = f64::INFINITY;
        for _ in 0..LOOKS {
            let (begun, used_before, wanted_before) = (Instant::now(), self.cpu_time()?, self.wanted_time());
            thread::sleep(LOOK);
            let used = self.cpu_time()?.saturating_sub(used_before);
            let wanted = self.wanted_time().zip(wanted_before).map(|(now, before)| now.saturating_sub(before));
            least = least.min(used.max(wanted.unwrap_or_default()).as_secs_f64() / begun.elapsed().as_secs_f64());
            if least <= IDLE_SHARE {
                break;
            }
        }
        Ok(least)
    }

    fn read(self, file: &str) -> Result<String, String> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid)).map_err(|error| self.unreadable(file, &error))
    }

    fn unreadable(self, file: &str, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::NotFound => format!("process {} has ended", self.pid),
            _ => format!("/proc/{}/{file} cannot be read: {error}", self.pid),
        }
    }
}

/// The share of a processor that a server may use which has nothing to do.
pub(crate) const IDLE_SHARE: f64 = 0.1;

/// Linux tells processor time in hundredths of a second, whatever its own tick is (`USER_HZ`, time(7)).
const MILLIS_PER_TICK: u64 = 10;
/// How long the processor time is looked at, and how often at most.
const LOOK: Duration = Duration::from_millis(300);
const LOOKS: u32 = 4;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_a_process_are_read() {
        let process = Process::of(std::process::id()).unwrap();
        let memory = process.memory().unwrap();
        assert!(memory.resident > 100_000 && memory.data > 100_000, "{memory:?}");
        let before = process.descriptors().unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Tests beside this one open and close some.
        assert!(process.descriptors().unwrap() >= before + 20);
        drop(held);
        assert!(process.descriptors_max().unwrap() >= 50);
    }

    #[test]
    fn a_process_that_is_not_there_is_told_by_its_number() {
        let message = Process::of(u32::MAX).unwrap_err();
        assert!(message.contains("process 4294967295 cannot be read"), "{message}");
    }
}
