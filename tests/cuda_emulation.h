// CUDA on one core, for kernels that use no more of it than gridding.cu does: g++ -include cuda_emulation.h -x c++ ...
//
// The threads of a block are coroutines that run in turn; each yields where it would wait for its warp. That is right
// as long as all threads of a warp that have not ended meet at every __syncwarp and __shfl_down_sync, which CUDA
// demands anyway of the threads that are named by a full mask.

#pragma once
#include <ucontext.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

struct float2 { float x, y; };
struct double2 { double x, y; };
struct Index { unsigned x, y, z; };

#define __global__
#define __device__
#define __constant__
#define __shared__ static  // one block runs at a time
#define __forceinline__ inline
#define __launch_bounds__(threads)

namespace emulation {

constexpr unsigned LANES = 32;
constexpr std::size_t STACK = 64 * 1024;

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    double exchanged;
    bool ended;
};

inline ucontext_t scheduler;
inline std::vector<Thread> threads;
inline unsigned current;
inline void (*run_thread)(void*);
inline void* arguments;

inline void yield() { swapcontext(&threads[current].context, &scheduler); }

inline void entry()
{
    run_thread(arguments);
    threads[current].ended = true;
}

}  // namespace emulation

inline Index threadIdx, blockIdx, blockDim;

inline void __syncwarp()
{
    const Index mine = threadIdx;
    emulation::yield();
    threadIdx = mine;
}

inline double __shfl_down_sync(unsigned, double value, unsigned distance)
{
    using namespace emulation;
    threads[current].exchanged = value;
    __syncwarp();
    const bool inside = current % LANES + distance < LANES;
    const double result = threads[inside ? current + distance : current].exchanged;
    __syncwarp();
    return result;
}

template <class Number>
Number atomicAdd(Number* target, Number value)
{
    const Number before = *target;
    *target += value;
    return before;
}

namespace emulation {

template <class... Arguments, std::size_t... Index>
void call(void (*kernel)(Arguments...), void** packed, std::index_sequence<Index...>)
{
    kernel(*static_cast<Arguments*>(packed[Index])...);
}

// As cuLaunchKernel: `packed` holds a pointer to each argument.
template <class... Arguments>
void launch(void (*kernel)(Arguments...), unsigned columns, unsigned rows, unsigned block, void** packed)
{
    using Call = std::pair<void (*)(Arguments...), void**>;
    Call what{kernel, packed};
    arguments = &what;
    run_thread = [](void* pair) {
        auto& [function, values] = *static_cast<Call*>(pair);
        call(function, values, std::index_sequence_for<Arguments...>());
    };
    threads = std::vector<Thread>(block);
    blockDim = {block, 1, 1};
    for (unsigned row = 0; row < rows; ++row)
        for (unsigned column = 0; column < columns; ++column) {
            blockIdx = {column, row, 0};
            for (Thread& thread : threads) {
                getcontext(&thread.context);
                thread.context.uc_stack.ss_sp = thread.stack.get();
                thread.context.uc_stack.ss_size = STACK;
                thread.context.uc_link = &scheduler;
                thread.ended = false;
                makecontext(&thread.context, entry, 0);
            }
            for (bool waiting = true; waiting;) {
                waiting = false;
                for (current = 0; current < block; ++current) {
                    if (threads[current].ended) continue;
                    threadIdx = {current, 0, 0};
                    swapcontext(&scheduler, &threads[current].context);
                    waiting |= !threads[current].ended;
                }
            }
        }
}

}  // namespace emulation

// After the kernels: emulate_NAME(columns, rows, block, packed) of each.
#define EMULATE(kernel) \
    extern "C" void emulate_##kernel(unsigned columns, unsigned rows, unsigned block, void** packed) \
    { \
        emulation::launch(kernel, columns, rows, block, packed); \
    }
