//! Settings of the whole process that its speed depends on.

/// Blocks up to this size come from the heap, in bytes; glibc's own upper limit for the setting.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const HEAP_BLOCK: i32 = 32 << 20;

/// Call once, first of all, on the program's only thread.
///
/// - Freed memory is kept for the next tensor. glibc gives large blocks back to the system; mapping
///   and zeroing them anew was a quarter of the time of a picture through the Candle modules.
/// - Candle learns the number of threads from the environment: without it, every matrix product
///   reads `/proc/cpuinfo`. Its own second pool, whose threads spin between operations on the cores
///   that rayon's need, is left empty.
pub fn prepare_process(threads: Option<usize>) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only stores its value in the allocator's settings; no other thread allocates.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, HEAP_BLOCK);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
    let threads = threads.or_else(|| std::env::var("RAYON_NUM_THREADS").ok()?.parse().ok()).filter(|&n| n > 0);
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    // SAFETY: the program has no other thread that could read the environment meanwhile.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
}
