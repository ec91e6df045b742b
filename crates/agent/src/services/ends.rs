//! The ends of processes that outlive the agent. They are no children of its, so a descriptor of
//! each says when it ends, to a thread that waits for all of them.
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use host::process::Process;
use rustix::event::epoll;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What is called when something ended.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Who is waited for: processes by their numbers.
type Awaited = Arc<Mutex<BTreeMap<u32, OwnedFd>>>;

pub(super) struct Ends {
    /// None where the kernel would not: who ended is found by looking.
    waiting: Option<Arc<OwnedFd>>,
    awaited: Awaited,
}

impl Ends {
    pub(super) fn new(wake: Wake) -> Ends {
        let awaited = Awaited::default();
        let waiting = epoll::create(epoll::CreateFlags::CLOEXEC).map(Arc::new);
        if let Ok(waiting) = &waiting {
            let (waiting, awaited) = (waiting.clone(), awaited.clone());
            std::thread::spawn(move || tell(&waiting, &awaited, &wake));
        }
        Ends {
            waiting: waiting.ok(),
            awaited,
        }
    }

    /// Tell of the end of these too. One that ended meanwhile is found by looking.
    pub(super) fn wait_for<'a>(&self, processes: impl Iterator<Item = &'a Process>) {
        let Some(waiting) = &self.waiting else { return };
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        for pid in processes.filter_map(|process| process.pid.0) {
            if awaited.contains_key(&pid) {
                continue;
            }
            if let Ok(process) = wait_for(waiting, pid) {
                awaited.insert(pid, process);
            }
        }
    }
}

fn wait_for(waiting: &OwnedFd, pid: u32) -> io::Result<OwnedFd> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(number, PidfdFlags::empty())?;
    let which = epoll::EventData::new_u64(pid.into());
    epoll::add(waiting, &process, which, epoll::EventFlags::IN)?;
    Ok(process)
}

/// For ever: a process that ended is waited for no more, which closing its descriptor does.
fn tell(waiting: &OwnedFd, awaited: &Awaited, wake: &Wake) {
    let mut ended = Vec::with_capacity(16);
    loop {
        ended.clear();
        match epoll::wait(waiting, rustix::buffer::spare_capacity(&mut ended), None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::warn!(%error, "ends of processes are not told; they will be looked for");
                return;
            }
        }
        let mut awaited = awaited.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &ended {
            let pid = u32::try_from(event.data.u64()).unwrap_or_default();
            awaited.remove(&pid);
        }
        drop(awaited);
        wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_end_of_a_process_is_told_once() {
        let (send, mut told) = mpsc::unbounded_channel();
        let ends = Ends::new(Arc::new(move || send.send(()).unwrap_or(())));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("it starts");
        let process = Process {
            pid: Some(child.id()).into(),
            ..Process::default()
        };
        for _ in 0..2 {
            ends.wait_for([&process].into_iter());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(told.try_recv().is_err(), "it runs");
        child.kill().expect("it is killed");
        let soon = tokio::time::timeout(Duration::from_secs(5), told.recv());
        assert_eq!(soon.await, Ok(Some(())));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(told.try_recv().is_err());
        child.wait().expect("it ended");
    }
}
