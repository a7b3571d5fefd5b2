// Large arrays that are written in full before they are read: not filled with zeros first, and in huge pages where the
// system grants them, because touching new small pages costs as much as the work on them.
#pragma once

#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace icd {

template <class T>
struct LargeAllocator {
    using value_type = T;
    LargeAllocator() = default;
    template <class U>
    LargeAllocator(const LargeAllocator<U>&) {}

    T* allocate(std::size_t count) {
        constexpr std::size_t page = std::size_t{1} << 21;
        const std::size_t bytes = count * sizeof(T);
        void* memory = nullptr;
        if (bytes < page) {
            memory = std::malloc(bytes);
        } else if (posix_memalign(&memory, page, bytes) != 0) {
            memory = nullptr;
        }
        if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
        if (bytes >= page) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
        return static_cast<T*>(memory);
    }
    void deallocate(T* memory, std::size_t) { std::free(memory); }

    template <class U>
    void construct(U* place) {
        ::new (static_cast<void*>(place)) U;  // default initialization: numbers stay as they are
    }
    template <class U, class... Arguments>
    void construct(U* place, Arguments&&... arguments) {
        ::new (static_cast<void*>(place)) U(std::forward<Arguments>(arguments)...);
    }
    bool operator==(const LargeAllocator&) const { return true; }
    bool operator!=(const LargeAllocator&) const { return false; }
};

template <class T>
using Buffer = std::vector<T, LargeAllocator<T>>;

}  // namespace icd
