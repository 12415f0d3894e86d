//! A timer on the boot clock. I/O.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

use tokio::io::unix::AsyncFd;

/// Wakes at a time of the clock that [`crate::boottime`] reads, as exactly as the kernel can: tokio's own timers count whole milliseconds, and round up.
#[derive(Debug)]
pub struct Timer {
    descriptor: AsyncFd<OwnedFd>,
}

impl Timer {
    /// A timer that is not set. Must be called within a tokio runtime.
    ///
    /// # Errors
    ///
    /// Those of timerfd_create(2).
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointer is passed.
        let descriptor =
            unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created, and nobody else knows it.
        let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: `OwnedFd` owns its descriptor, which is open, and always reports the same one; it is moved into the `AsyncFd` and only lent out by shared
        // reference, so nothing can close it before the `AsyncFd` goes.
        let registered = unsafe { AsyncFd::register(owned) };
        let descriptor = registered.map_err(|error| error.into_parts().1)?;
        Ok(Timer { descriptor })
    }

    /// Sets it, as time since boot; `None` stops it. A time that has passed is due at once. What was set before is forgotten, and has not happened.
    ///
    /// # Errors
    ///
    /// Those of timerfd_settime(2).
    pub fn set(&self, at: Option<Duration>) -> io::Result<()> {
        // All zero stops the timer: the moment of boot itself becomes the one after it.
        let at = at.map_or(Duration::ZERO, |at| at.max(Duration::from_nanos(1)));
        let value = libc::timespec {
            tv_sec: i64::try_from(at.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at.subsec_nanos() as libc::c_long,
        };
        let setting =
            libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // SAFETY: the descriptor is open, `setting` outlives the call, and no old value is asked for.
        let failed = unsafe {
            libc::timerfd_settime(
                self.descriptor.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const setting,
                ptr::null_mut(),
            )
        };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until it is due; then it is not set any more. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Those of read(2).
    pub async fn expired(&self) -> io::Result<()> {
        loop {
            let mut ready = self.descriptor.readable().await?;
            match ready.try_io(|descriptor| expirations(descriptor.as_raw_fd())) {
                Ok(read) => return read,
                Err(_would_block) => {}
            }
        }
    }
}

/// Takes the count of expirations. `WouldBlock` if there was none.
fn expirations(descriptor: RawFd) -> io::Result<()> {
    let mut count = MaybeUninit::<u64>::uninit();
    // SAFETY: the buffer has the eight octets that are asked for, and the kernel keeps no pointer to it.
    let length = unsafe { libc::read(descriptor, count.as_mut_ptr().cast(), size_of::<u64>()) };
    if length < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boottime;

    #[tokio::test]
    async fn wakes_when_set_and_only_then() {
        let timer = Timer::new().expect("timerfd");
        let at = boottime() + Duration::from_millis(20);
        timer.set(Some(at)).expect("set");
        timer.expired().await.expect("due");
        assert!(boottime() >= at);
        // In the past: at once. Then no more.
        timer.set(Some(Duration::ZERO)).expect("set");
        timer.expired().await.expect("due");
        let waited = tokio::time::timeout(Duration::from_millis(20), timer.expired()).await;
        assert!(waited.is_err(), "it was set once");
    }

    #[tokio::test]
    async fn set_anew_it_forgets_what_was() {
        let timer = Timer::new().expect("timerfd");
        timer.set(Some(boottime())).expect("set");
        let at = boottime() + Duration::from_millis(30);
        timer.set(Some(at)).expect("set");
        timer.expired().await.expect("due");
        assert!(boottime() >= at);
        timer.set(Some(boottime())).expect("set");
        timer.set(None).expect("stopped");
        assert!(tokio::time::timeout(Duration::from_millis(20), timer.expired()).await.is_err());
    }
}
