#include "triax/tensor/gpu_sensors.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace triax {
namespace {

TEST(GpuSensors, TellWhatTheLibraryTells) {
  void* fake = dlopen(TRIAX_FAKE_NVML, RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(fake, nullptr) << dlerror();
  const auto users = reinterpret_cast<int (*)()>(dlsym(fake, "fake_users"));
  {
    const auto sensors = open_gpu_sensors("0000:17:00.0", TRIAX_FAKE_NVML);
    ASSERT_NE(sensors, nullptr);
    EXPECT_EQ(users(), 1);
    const auto figures = sensors->read();
    ASSERT_TRUE(figures.has_value());
    EXPECT_DOUBLE_EQ(figures->power_watts, 612.5);
    EXPECT_EQ(figures->temperature, 61);
    EXPECT_EQ(figures->memory_bytes, uint64_t{71} << 30);
    EXPECT_EQ(figures->held_back_by, "power cap, heat");
  }
  EXPECT_EQ(open_gpu_sensors("0000:99:00.0", TRIAX_FAKE_NVML), nullptr);
  EXPECT_EQ(users(), 0);
  dlclose(fake);
}

TEST(GpuSensors, AreSilentlyAbsentWhereTheLibraryIs) {
  EXPECT_EQ(open_gpu_sensors("0000:17:00.0", "libnosuch-ml.so.1"), nullptr);
  EXPECT_EQ(open_gpu_sensors("0000:17:00.0", "libm.so.6"), nullptr);  // one without these functions
  EXPECT_EQ(open_gpu_sensors(Device{}), nullptr);
}

}  // namespace
}  // namespace triax
