//! The memory, descriptors and processor time of the server's process, from `/proc`.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

use procfs_core::process::{LimitValue, Limits, Schedstat, Stat, Status};
use procfs_core::{FromRead, ProcError};

/// A process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

/// The memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// Allocated and writable, touched or not.
    pub(crate) data: u64,
}

/// What a thread has used of the processors.
#[derive(Debug, PartialEq, Eq)]
struct ThreadTimes {
    id: i32,
    /// It runs, or waits for a processor.
    is_ready: bool,
    /// In nanoseconds, as the next.
    ran: u64,
    /// How long it was ready and did not run, up to when it ran last.
    waited: u64,
}

impl ThreadTimes {
    fn of(path: &Path) -> Option<Self> {
        let stat = Stat::from_file(path.join("stat")).ok()?;
        let times = Schedstat::from_file(path.join("schedstat")).ok()?;
        Some(Self { id: stat.pid, is_ready: stat.state == 'R', ran: times.sum_exec_runtime, waited: times.run_delay })
    }
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
        let status: Status = self.read("status")?;
        // A zombie has neither.
        let memory = status.vmrss.zip(status.vmdata);
        let memory = memory.map(|(resident, data)| Memory { resident: resident * 1_024, data: data * 1_024 });
        memory.ok_or_else(|| self.ended())
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(self) -> Result<u64, String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid));
        entries.map(|entries| entries.count() as u64).map_err(|error| self.unreadable("fd", error.into()))
    }

    /// How many descriptors may be open.
    pub(crate) fn descriptors_max(self) -> Result<u64, String> {
        let limits: Limits = self.read("limits")?;
        Ok(match limits.max_open_files.soft_limit {
            LimitValue::Value(max) => max,
            LimitValue::Unlimited => u64::MAX,
        })
    }

    /// The processor time of all threads so far, including those that have ended.
    pub(crate) fn cpu_time(self) -> Result<Duration, String> {
        let stat: Stat = self.read("stat")?;
        Ok(Duration::from_millis((stat.utime + stat.stime) * MILLIS_PER_TICK))
    }

    /// How long all threads together have run, or were ready to run and waited for a processor; those that have ended do not
    /// count. `None` where the kernel does not report it.
    fn wanted_time(self) -> Option<Duration> {
        let nanos = self.threads()?.iter().map(|thread| thread.ran + thread.waited).sum();
        Some(Duration::from_nanos(nanos))
    }

    /// Waits until the threads that are ready to run have run: before that, the kernel counts their wait nowhere. Returns
    /// whether they have.
    fn ready_threads_have_run(self) -> bool {
        let until = Instant::now() + STARVED_MAX;
        let mut ready = self.threads().unwrap_or_default();
        ready.retain(|thread| thread.is_ready);
        while !ready.is_empty() && Instant::now() < until {
            thread::sleep(LOOK);
            let now = self.threads().unwrap_or_default();
            ready.retain(|thread| now.contains(thread));
        }
        ready.is_empty()
    }

    fn threads(self) -> Option<Vec<ThreadTimes>> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).ok()?;
        threads.map(|thread| ThreadTimes::of(&thread.ok()?.path())).collect()
    }

    /// The share of one processor that is used from now on, or waited for on a busy machine: the least of a few samples, so
    /// that the end of earlier work does not count.
    pub(crate) fn cpu_share(self) -> Result<f64, String> {
        let mut least = f64::INFINITY;
        for _ in 0..SAMPLES {
            let (begun, used_before, wanted_before) = (Instant::now(), self.cpu_time()?, self.wanted_time());
            thread::sleep(SAMPLE);
            if !self.ready_threads_have_run() {
                // It has wanted a processor all the time.
                least = least.min(1.0);
                continue;
            }
            let used = self.cpu_time()?.saturating_sub(used_before);
            let wanted = self.wanted_time().zip(wanted_before).map(|(now, before)| now.saturating_sub(before));
            least = least.min(used.max(wanted.unwrap_or_default()).as_secs_f64() / begun.elapsed().as_secs_f64());
            if least <= IDLE_SHARE {
                break;
            }
        }
        Ok(least)
    }

    fn read<T: FromRead>(self, file: &str) -> Result<T, String> {
        T::from_file(format!("/proc/{}/{file}", self.pid)).map_err(|error| self.unreadable(file, error))
    }

    fn unreadable(self, file: &str, error: ProcError) -> String {
        match error {
            ProcError::NotFound(_) => self.ended(),
            _ => format!("/proc/{}/{file} cannot be read: {error}", self.pid),
        }
    }

    fn ended(self) -> String {
        format!("process {} has ended", self.pid)
    }
}

/// The share of a processor that an idle server may use.
pub(crate) const IDLE_SHARE: f64 = 0.1;

/// Linux reports processor time in hundredths of a second, whatever its own tick is (`USER_HZ`, time(7)).
const MILLIS_PER_TICK: u64 = 10;
/// How long a sample of the processor time takes, and how many are taken at most.
const SAMPLE: Duration = Duration::from_millis(300);
const SAMPLES: u32 = 4;
/// How long a thread that is ready to run may wait for a processor, and how often it is looked at.
const STARVED_MAX: Duration = SAMPLE;
const LOOK: Duration = Duration::from_millis(2);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    #[test]
    fn the_figures_of_a_process_are_read() {
        let process = Process::of(std::process::id()).unwrap();
        let memory = process.memory().unwrap();
        assert!(memory.resident > 100_000 && memory.data > 100_000, "{memory:?}");
        let before = process.descriptors().unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests in this process open and close some.
        assert!(process.descriptors().unwrap() >= before + 20);
        drop(held);
        assert!(process.descriptors_max().unwrap() >= 50);
    }

    /// A loop that never sleeps, on this processor only, killed when it is dropped.
    struct Spinner(Child);

    impl Spinner {
        fn start(processor: &str, policy: &str) -> Self {
            let mut command = Command::new("taskset");
            command.args(["-c", processor, "chrt", policy, "0", "sh", "-c", "while :; do :; done"]);
            Self(command.spawn().unwrap())
        }
    }

    impl Drop for Spinner {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn spinning_process_without_a_processor_is_not_idle() {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        let processor = allowed.split([',', '-']).next().unwrap();
        // It runs for a moment, every few seconds. The others are dropped first, since it must run to end.
        let starved = Spinner::start(processor, "--idle");
        let _others = [(); 3].map(|()| Spinner::start(processor, "--other"));
        thread::sleep(SAMPLE);
        let share = Process::of(starved.0.id()).unwrap().cpu_share().unwrap();
        assert!(share > IDLE_SHARE, "{share}");
    }

    #[test]
    fn missing_process_is_reported_by_pid() {
        let message = Process::of(u32::MAX).unwrap_err();
        assert!(message.contains("process 4294967295 cannot be read"), "{message}");
    }
}
