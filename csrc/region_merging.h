// Greedy merging of regions by the likeness of their features. See region_merging.cpp.
#pragma once

#include <cstdint>

namespace icd {

// `features` (regions, channels), `sizes` (regions) in pixels, all > 0, `area` = pixels of the image.
// Merges until at most `limit` >= 1 regions are left; writes for each old region its new number to `numbers` (regions),
// the survivors numbered in ascending order of their old numbers. Returns how many are left.
int64_t merge_regions(const float* features, const int64_t* sizes, int64_t regions, int64_t channels, double area,
                      int64_t limit, int threads, int32_t* numbers);

// How many of `pixels` ids, each of 0..regions-1, each region has.
void region_sizes(const int32_t* ids, int64_t pixels, int64_t regions, int64_t* sizes);

}  // namespace icd
