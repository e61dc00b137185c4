#include "base/device.hpp"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"

namespace hanse {
namespace {

// Sets HANSE_CUDA_PLUGIN and puts back what was there.
class ForcedPlugin {
 public:
  explicit ForcedPlugin(const char* path) {
    if (const char* before = std::getenv("HANSE_CUDA_PLUGIN")) before_ = before;
    setenv("HANSE_CUDA_PLUGIN", path, 1);
  }
  ~ForcedPlugin() {
    if (before_.empty())
      unsetenv("HANSE_CUDA_PLUGIN");
    else
      setenv("HANSE_CUDA_PLUGIN", before_.c_str(), 1);
  }

 private:
  std::string before_;
};

void expect_no_device(const std::string& reason) {
  try {
    device_table();
    FAIL() << "a device where none should be";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::no_device);
    EXPECT_EQ(error.field(), "device");
    EXPECT_NE(error.detail().find(reason), std::string::npos) << error.what();
  }
  EXPECT_EQ(device_status().find("NoDevice: "), 0u);
  EXPECT_NE(device_status().find(reason), std::string::npos) << device_status();
}

TEST(Device, APluginThatIsNotThereIsANamedError) {
  const ForcedPlugin forced("/nowhere/libhanse_cuda.so");
  expect_no_device("/nowhere/libhanse_cuda.so, which is not there");
}

TEST(Device, AFileThatIsNoLibraryIsANamedError) {
  const ForcedPlugin forced("/proc/self/status");
  expect_no_device("does not load");
}

TEST(Device, ALibraryWithoutTheTableIsANamedError) {
  Dl_info libc{};  // a library that every program has
  ASSERT_NE(dladdr(dlsym(RTLD_DEFAULT, "abort"), &libc), 0);
  const ForcedPlugin forced(libc.dli_fname);
  expect_no_device("is no plug-in of hanse: it lacks hanse_device_table");
}

// With a plug-in beside the program or forced, its answer depends on the machine; without one the
// error says that it isn't built.
TEST(Device, TheMachinesDeviceOrTheReasonForNoneIsSaid) {
  try {
    const DeviceTable& table = device_table();
    EXPECT_EQ(table.abi_version, device_abi_version);
    EXPECT_NE(device_status().find("compute capability"), std::string::npos);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::no_device);
    const bool built = std::getenv("HANSE_CUDA_PLUGIN") != nullptr ||
                       error.detail().find("the plug-in is loaded") == 0;
    EXPECT_NE(error.detail().find(built ? "cudaError" : "the plug-in is not built"),
              std::string::npos)
        << error.what();
  }
}

TEST(Device, AFailedCallNamesTheCallAndTheError) {
  DeviceTable table{};
  table.error_name = [](int32_t) { return "cudaErrorSomething"; };
  EXPECT_NO_THROW(check_device(table, "search", 0));
  try {
    check_device(table, "search", 700);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device_failed);
    EXPECT_EQ(error.field(), "search");
    EXPECT_EQ(error.detail(), "cudaErrorSomething");
  }
}

}  // namespace
}  // namespace hanse
