//! The boot clock. I/O (one system call).

use std::time::Duration;

/// Time since the machine booted, suspended time included (`CLOCK_BOOTTIME`).
///
/// Leases and liveness must be judged by this clock: `CLOCK_MONOTONIC`, which `std::time::Instant` reads, stands still
/// while a machine is suspended or a virtual machine is paused with clock notification, so that a process would wake
/// up and believe that its lease is as young as before.
///
/// Never goes backwards within one boot. See clock_gettime(2).
pub fn boottime() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid, writable timespec for the length of the call, which keeps no pointer to it.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    // CLOCK_BOOTTIME exists since Linux 2.6.39 and the pointer is valid: the two documented errors cannot happen.
    assert_eq!(failed, 0, "clock_gettime(CLOCK_BOOTTIME) failed: {}", std::io::Error::last_os_error());
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_and_agrees_with_proc_uptime() {
        let first = boottime();
        let uptime: f64 = std::fs::read_to_string("/proc/uptime")
            .expect("/proc/uptime is readable")
            .split_whitespace()
            .next()
            .and_then(|field| field.parse().ok())
            .expect("/proc/uptime starts with seconds");
        let second = boottime();
        assert!(second >= first);
        // /proc/uptime is the boot clock in hundredths of a second, in the time namespace of the reader as well.
        assert!((uptime - first.as_secs_f64()).abs() < 1.0, "uptime {uptime}, boottime {first:?}");
    }
}
