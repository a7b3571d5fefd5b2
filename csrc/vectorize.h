// Vectors of floats in the notation that GCC and Clang share on all processors, and a run-time choice of AVX2.
//
// A kernel's body is an ICD_INLINE template over the vector's length. Where AVX2 pays it is called from two functions, one of
// them marked ICD_AVX2, and use_avx2() chooses. Neither fuses multiplications with additions: both give the same bits.
#pragma once

#include <cstdlib>
#include <cstring>

#define ICD_INLINE inline __attribute__((always_inline))
#define ICD_PREFETCH(address) __builtin_prefetch(address)

#if defined(__x86_64__)
#define ICD_AVX2 __attribute__((target("avx2")))
#define ICD_VNNI __attribute__((target("avx512f,avx512vnni")))
#else
#define ICD_AVX2
#endif

namespace icd {

template <int length>
struct FloatsOf {
    typedef float type __attribute__((vector_size(length * sizeof(float))));
};
template <int length>
using Floats = typename FloatsOf<length>::type;

typedef double Doubles4 __attribute__((vector_size(4 * sizeof(double))));

template <int length>
ICD_INLINE void load(const float* from, Floats<length>& vector) {
    std::memcpy(&vector, from, sizeof vector);
}

template <int length>
ICD_INLINE void store(const Floats<length>& vector, float* to) {
    std::memcpy(to, &vector, sizeof vector);
}

// The largest and the sum of a vector's values, half with half.
template <int length>
ICD_INLINE float largest_of(const Floats<length>& vector) {
    if constexpr (length == 2) return vector[0] > vector[1] ? vector[0] : vector[1];
    else {
        Floats<length / 2> low, high;
        std::memcpy(&low, &vector, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&vector) + sizeof low, sizeof high);
        return largest_of<length / 2>(low > high ? low : high);
    }
}

template <int length>
ICD_INLINE float sum_of_all(const Floats<length>& vector) {
    if constexpr (length == 2) return vector[0] + vector[1];
    else {
        Floats<length / 2> low, high;
        std::memcpy(&low, &vector, sizeof low);
        std::memcpy(&high, reinterpret_cast<const char*>(&vector) + sizeof low, sizeof high);
        return sum_of_all<length / 2>(low + high);
    }
}

// False where the environment says 0, for tests of what else there is.
inline bool wanted(const char* variable) {
    const char* wish = std::getenv(variable);
    return !(wish && std::strcmp(wish, "0") == 0);
}

// True where the processor has AVX2 and the environment does not say ICD_AVX2=0.
inline bool use_avx2() {
#if defined(__x86_64__)
    static const bool use = __builtin_cpu_supports("avx2") && wanted("ICD_AVX2");
    return use;
#else
    return false;
#endif
}

// True where the processor also multiplies 8-bit numbers in vectors of 512 bits, and the environment does not say ICD_VNNI=0.
inline bool use_vnni() {
#if defined(__x86_64__)
    static const bool use = use_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni") &&
                            wanted("ICD_VNNI");
    return use;
#else
    return false;
#endif
}

// Define name(parameters) from name_body(arguments), compiled for both instruction sets; the second one for a template over
// `lanes`.
#define ICD_DISPATCH(name, parameters, arguments)                   \
    void name##_baseline parameters { name##_body arguments; }      \
    ICD_AVX2 void name##_avx2 parameters { name##_body arguments; } \
    void name parameters { use_avx2() ? name##_avx2 arguments : name##_baseline arguments; }

#define ICD_DISPATCH_LANES(name, parameters, arguments)                                       \
    template <int lanes>                                                                      \
    void name##_baseline parameters { name##_body<lanes> arguments; }                         \
    template <int lanes>                                                                      \
    ICD_AVX2 void name##_avx2 parameters { name##_body<lanes> arguments; }                    \
    template <int lanes>                                                                      \
    void name parameters { use_avx2() ? name##_avx2<lanes> arguments : name##_baseline<lanes> arguments; }

// `lanes` floats as vectors of up to eight, which is what AVX2 has.
template <int lanes>
struct Group {
    static constexpr int width = lanes < 8 ? lanes : 8, count = lanes / width;
    Floats<width> part[count];

    ICD_INLINE static Group zero() {
        Group group;
        for (int i = 0; i < count; ++i) group.part[i] = Floats<width>{};
        return group;
    }
    ICD_INLINE static Group at(const float* from) {
        Group group;
        for (int i = 0; i < count; ++i) load<width>(from + i * width, group.part[i]);
        return group;
    }
    ICD_INLINE void store_at(float* to) const {
        for (int i = 0; i < count; ++i) store<width>(part[i], to + i * width);
    }
    // Add `weight` times the floats at `from`.
    ICD_INLINE void add(float weight, const float* from) {
        for (int i = 0; i < count; ++i) {
            Floats<width> value;
            load<width>(from + i * width, value);
            part[i] += weight * value;
        }
    }
};

}  // namespace icd
