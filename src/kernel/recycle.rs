//! Memory of large tensors that is used again instead of being given back to the system.
//!
//! A training step takes and frees the same hundreds of large blocks as the step before. glibc gives blocks
//! of more than 32 MiB back at once; to map and clear them anew took a third of a step's time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, TryLockError};

/// Smaller blocks are left to the system's allocator, in bytes.
const LARGE: usize = 1 << 20;
/// Free blocks that are kept at most, and their bytes.
const SLOTS: usize = 512;
const MOST_BYTES: usize = 3 << 30;

static IS_ON: AtomicBool = AtomicBool::new(false);
static FREE: Mutex<Free> = Mutex::new(Free { blocks: [(null_mut(), 0); SLOTS], count: 0, bytes: 0 });

/// The system's allocator; from [`recycle`] on, large blocks that are freed wait for the next one of their
/// size.
#[derive(Debug)]
pub struct Recycling;

/// Free blocks with their sizes, the one that was freed last at the end.
struct Free {
    blocks: [(*mut u8, usize); SLOTS],
    count: usize,
    /// Of all of them.
    bytes: usize,
}

// SAFETY: the blocks belong to nobody else, and any thread may use them.
unsafe impl Send for Free {}

impl Free {
    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let index = self.blocks[..self.count].iter().rposition(|(_, other)| *other == size)?;
        let (block, _) = self.remove(index);
        Some(block)
    }

    /// Keeps a block if there is room for it.
    fn put(&mut self, block: *mut u8, size: usize) -> bool {
        let has_room = self.count < SLOTS && self.bytes + size <= MOST_BYTES;
        if has_room {
            self.blocks[self.count] = (block, size);
            self.count += 1;
            self.bytes += size;
        }
        has_room
    }

    /// Gives up the block that has waited longest if another of `size` would not fit beside all.
    fn make_room(&mut self, size: usize) -> Option<(*mut u8, usize)> {
        (self.count > 0 && (self.count == SLOTS || self.bytes + size > MOST_BYTES)).then(|| self.remove(0))
    }

    fn remove(&mut self, index: usize) -> (*mut u8, usize) {
        let block = self.blocks[index];
        self.blocks.copy_within(index + 1..self.count, index);
        self.count -= 1;
        self.bytes -= block.1;
        block
    }
}

/// Makes [`Recycling`] keep large blocks from now on.
pub fn recycle() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// What the free blocks were allocated with; only such are kept.
fn layout(size: usize) -> Layout {
    // SAFETY: the alignment is a power of two, and the size was a layout's before.
    unsafe { Layout::from_size_align_unchecked(size, align_of::<f32>()) }
}

fn is_kept(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() == align_of::<f32>() && IS_ON.load(Ordering::Relaxed)
}

/// Never waits: another thread that is in there leaves the work to the system.
fn with_free<R>(work: impl FnOnce(&mut Free) -> R) -> Option<R> {
    match FREE.try_lock() {
        Ok(mut free) => Some(work(&mut free)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

// SAFETY: every block comes from `System` with its own layout, and is either in use or kept, never both. A
// kept block is handed out for its exact layout only, and cleared where zeros are asked for.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_kept(layout)
            && let Some(Some(block)) = with_free(|free| free.take(layout.size()))
        {
            return block;
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_kept(layout)
            && let Some(Some(block)) = with_free(|free| free.take(layout.size()))
        {
            // SAFETY: the block has this size.
            unsafe { block.write_bytes(0, layout.size()) };
            return block;
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_kept(layout) {
            while let Some((oldest, size)) = with_free(|free| free.make_room(layout.size())).flatten() {
                // SAFETY: it was allocated by the system with this very layout and nobody has it.
                unsafe { System.dealloc(oldest, self::layout(size)) };
            }
            if with_free(|free| free.put(block, layout.size())) == Some(true) {
                return;
            }
        }
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(block, layout, new_size) }
    }
}
