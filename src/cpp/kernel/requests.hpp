// Requests that wait for an answer, for the faces of the kernel.
#pragma once

#include "mailbox/requests.hpp"
