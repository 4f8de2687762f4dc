/* The bytes of a value, in one pass: what `Codec.encode` in capnet/wire/codec.py does, byte for byte, for values of the
   exact classes that `values.lower` lets through. */
#include "core.h"

#define AT_HAND 1024

typedef struct {
    unsigned char *start, *at, *end;
    unsigned char at_hand[AT_HAND]; /* most frames fit in here */
} Output;

static int put(Output *output, PyObject *value, int depth);

/* Make room for so many bytes. */
static int reserve(Output *output, Py_ssize_t bytes)
{
    if (output->end - output->at >= bytes)
        return 0;
    Py_ssize_t used = output->at - output->start, size = output->end - output->start;
    if (bytes > PY_SSIZE_T_MAX / 2 - size) {
        PyErr_NoMemory();
        return -1;
    }
    size = 2 * size + bytes;
    unsigned char *larger = PyMem_Realloc(output->start == output->at_hand ? NULL : output->start, (size_t)size);
    if (larger == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (output->start == output->at_hand)
        memcpy(larger, output->at_hand, (size_t)used);
    output->start = larger;
    output->at = larger + used;
    output->end = larger + size;
    return 0;
}

/* The head of an item, in its shortest form, and room for as many bytes behind it. */
static int put_head(Output *output, unsigned major, uint64_t argument, Py_ssize_t behind)
{
    if (behind > PY_SSIZE_T_MAX - 9 || reserve(output, 9 + behind) < 0)
        return -1;
    unsigned char initial = (unsigned char)(major << 5);
    if (argument < 24) {
        *output->at++ = initial | (unsigned char)argument;
        return 0;
    }
    int power = argument <= UINT8_MAX ? 0 : argument <= UINT16_MAX ? 1 : argument <= UINT32_MAX ? 2 : 3;
    *output->at++ = initial | (unsigned char)(24 + power);
    for (int shift = 8 * ((1 << power) - 1); shift >= 0; shift -= 8)
        *output->at++ = (unsigned char)(argument >> shift);
    return 0;
}

static int put_bytes(Output *output, unsigned major, const char *bytes, Py_ssize_t size)
{
    if (put_head(output, major, (uint64_t)size, size) < 0)
        return -1;
    memcpy(output->at, bytes, (size_t)size);
    output->at += size;
    return 0;
}

static int put_text(Output *output, PyObject *text)
{
    Py_ssize_t size;
    const char *letters = PyUnicode_AsUTF8AndSize(text, &size);
    return letters == NULL ? -1 : put_bytes(output, 3, letters, size);
}

static int put_integer(Output *output, PyObject *value)
{
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (!overflow)
        return number >= 0 ? put_head(output, 0, (uint64_t)number, 0) : put_head(output, 1, (uint64_t)(-1 - number), 0);
    PyObject *positive = overflow > 0 ? Py_NewRef(value) : PyNumber_Invert(value);
    if (positive == NULL)
        return -1;
    unsigned long long argument = PyLong_AsUnsignedLongLong(positive);
    Py_DECREF(positive);
    if (argument == (unsigned long long)-1 && PyErr_Occurred())
        return -1; /* more than 64 bits */
    return put_head(output, overflow > 0 ? 0 : 1, argument, 0);
}

static int put_float(Output *output, double number)
{
    if (reserve(output, 9) < 0)
        return -1;
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    int power = 3;
    if (number - number != 0) { /* infinities and not-a-number are as short as they can be */
        bits = number != number ? 0x7e00 : number > 0 ? 0x7c00 : 0xfc00;
        power = 1;
    }
    *output->at++ = (unsigned char)(0xe0 | (24 + power));
    for (int shift = 8 * ((1 << power) - 1); shift >= 0; shift -= 8)
        *output->at++ = (unsigned char)(bits >> shift);
    return 0;
}

static int put_attribute(Output *output, PyObject *object, PyObject *name, int depth)
{
    PyObject *value = PyObject_GetAttr(object, name);
    if (value == NULL)
        return -1;
    int failed = put(output, value, depth);
    Py_DECREF(value);
    return failed;
}

static int put_answer(Output *output, PyObject *value, int depth)
{
    PyObject *path = PyObject_GetAttr(value, names.path);
    if (path == NULL)
        return -1;
    int failed = UNKNOWN;
    if (PyTuple_CheckExact(path)) {
        Py_ssize_t steps = PyTuple_GET_SIZE(path);
        failed = put_head(output, 6, TAG_ANSWER, 0) < 0 || put_head(output, 4, 1 + (uint64_t)steps, 0) < 0
            || put_attribute(output, value, names.id, depth) < 0;
        for (Py_ssize_t at = 0; at < steps && !failed; at++)
            failed = put(output, PyTuple_GET_ITEM(path, at), depth) < 0;
    }
    Py_DECREF(path);
    return failed ? -1 : 0;
}

static int put_reference(Output *output, PyObject *value, int depth)
{
    PyObject *kind = (PyObject *)Py_TYPE(value);
    if (kind == bound.answer)
        return put_answer(output, value, depth);
    if (kind == bound.cap) {
        if (put_head(output, 6, TAG_CAP, 0) < 0 || put_head(output, 4, 3, 0) < 0
            || put_attribute(output, value, names.id, depth) < 0
            || put_attribute(output, value, names.interface, depth) < 0)
            return -1;
        return put_attribute(output, value, names.version, depth);
    }
    if (kind == bound.stream) {
        PyObject *window = PyObject_GetAttr(value, names.window);
        if (window == NULL)
            return -1;
        Py_DECREF(window);
        if (window != Py_None)
            return UNKNOWN;
        if (put_head(output, 6, TAG_STREAM, 0) < 0 || put_head(output, 4, 2, 0) < 0
            || put_attribute(output, value, names.id, depth) < 0)
            return -1;
        return put_attribute(output, value, names.direction, depth);
    }
    return UNKNOWN;
}

static int put(Output *output, PyObject *value, int depth)
{
    if (PyUnicode_CheckExact(value))
        return put_text(output, value);
    if (PyLong_CheckExact(value))
        return put_integer(output, value);
    if (PyDict_CheckExact(value)) {
        if (depth <= 0 || put_head(output, 5, (uint64_t)PyDict_GET_SIZE(value), 0) < 0)
            return -1;
        PyObject *key, *item;
        Py_ssize_t at = 0;
        while (PyDict_Next(value, &at, &key, &item)) {
            if (put(output, key, depth - 1) < 0 || put(output, item, depth - 1) < 0)
                return -1;
        }
        return 0;
    }
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        if (depth <= 0 || put_head(output, 4, (uint64_t)Py_SIZE(value), 0) < 0)
            return -1;
        for (Py_ssize_t at = 0; at < Py_SIZE(value); at++) {
            PyObject *item = PyList_CheckExact(value) ? PyList_GET_ITEM(value, at) : PyTuple_GET_ITEM(value, at);
            if (put(output, item, depth - 1) < 0)
                return -1;
        }
        return 0;
    }
    if (value == Py_None || value == Py_True || value == Py_False) {
        if (reserve(output, 1) < 0)
            return -1;
        *output->at++ = value == Py_None ? 0xf6 : value == Py_True ? 0xf5 : 0xf4;
        return 0;
    }
    if (PyBytes_CheckExact(value))
        return put_bytes(output, 2, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    if (PyFloat_CheckExact(value))
        return put_float(output, PyFloat_AS_DOUBLE(value));
    return put_reference(output, value, depth);
}

PyObject *encode_value(PyObject *value)
{
    Output output;
    output.start = output.at = output.at_hand;
    output.end = output.at_hand + AT_HAND;
    PyObject *bytes = NULL;
    if (put(&output, value, DEEPEST) == 0)
        bytes = PyBytes_FromStringAndSize((const char *)output.start, output.at - output.start);
    else if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_MemoryError))
        PyErr_Clear(); /* a lone surrogate, an integer that is too large, a reference that lacks something */
    if (output.start != output.at_hand)
        PyMem_Free(output.start);
    return bytes;
}
