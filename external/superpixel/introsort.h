// The permutation of GNU libstdc++'s std::sort (GCC 4.9 and later), on every standard library.
//
// Introsort (Musser 1997): quicksort with the median of three as pivot down to pieces of 16, heap sort where the recursion
// gets too deep, one insertion sort at the end. It is not stable; which of two equal records comes first follows from
// the exact sequence of swaps. Published superpixels were made with that sequence, so it is part of their definition.
// Records are 64 bits: the upper half is compared, the lower half is carried along. O(n log n) time, no extra memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace superpixel {

class Introsort {
  public:
    static void sort(uint64_t* first, uint64_t* last) {
        const ptrdiff_t count = last - first;
        int levels = 0;
        while ((count >> (levels + 1)) > 0) ++levels;
        quick(first, last, 2 * levels);
        insertion(first, last);
    }

  private:
    static constexpr ptrdiff_t small = 16;

    static bool less(uint64_t a, uint64_t b) { return (a >> 32) < (b >> 32); }

    static void quick(uint64_t* first, uint64_t* last, int depth) {
        while (last - first > small) {
            if (depth-- == 0) {
                heap(first, last - first);
                return;
            }
            median_to_front(first, first + 1, first + (last - first) / 2, last - 1);
            uint64_t* cut = partition(first + 1, last, *first);
            quick(cut, last, depth);
            last = cut;
        }
    }

    // Swap the median of *a, *b, *c to the front.
    static void median_to_front(uint64_t* front, uint64_t* a, uint64_t* b, uint64_t* c) {
        uint64_t* median;
        if (less(*a, *b))
            median = less(*b, *c) ? b : (less(*a, *c) ? c : a);
        else
            median = less(*a, *c) ? a : (less(*b, *c) ? c : b);
        std::swap(*front, *median);
    }

    // Hoare's partition; the scans stop at records equal to the pivot and need no bounds because of the median.
    static uint64_t* partition(uint64_t* left, uint64_t* right, uint64_t pivot) {
        for (;; ++left) {
            while (less(*left, pivot)) ++left;
            do --right;
            while (less(pivot, *right));
            if (left >= right) return left;
            std::swap(*left, *right);
        }
    }

    // Pieces are in order by now, so an insertion never leaves its piece, and equal records keep their order.
    static void insertion(uint64_t* first, uint64_t* last) {
        for (uint64_t* next = first; next < last; ++next) {
            const uint64_t record = *next;
            uint64_t* hole = next;
            for (; hole > first && less(record, hole[-1]); --hole) *hole = hole[-1];
            *hole = record;
        }
    }

    static void heap(uint64_t* base, ptrdiff_t count) {
        for (ptrdiff_t parent = (count - 2) / 2; parent >= 0; --parent) sift(base, parent, count, base[parent]);
        for (ptrdiff_t end = count - 1; end > 0; --end) {
            const uint64_t record = base[end];
            base[end] = base[0];
            sift(base, 0, end, record);
        }
    }

    // Move the hole down to a leaf along the larger children (the right one if equal), then the record up from there.
    static void sift(uint64_t* base, ptrdiff_t top, ptrdiff_t count, uint64_t record) {
        ptrdiff_t hole = top;
        for (ptrdiff_t child = 2 * hole + 2; child <= count; child = 2 * hole + 2) {
            if (child == count || less(base[child], base[child - 1])) --child;
            base[hole] = base[child];
            hole = child;
        }
        for (ptrdiff_t parent = (hole - 1) / 2; hole > top && less(base[parent], record); parent = (hole - 1) / 2) {
            base[hole] = base[parent];
            hole = parent;
        }
        base[hole] = record;
    }
};

}  // namespace superpixel
