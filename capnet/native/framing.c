/* Frames cut out of a chunk: `sole` and `cut` of capnet/wire/framing.py. A frame that is not complete, or too long, is
   for the pure code, which goes on from there. */
#include "core.h"

#define HEADER_BYTES 4

static Py_ssize_t announced(const unsigned char *header)
{
    return (Py_ssize_t)((uint32_t)header[0] << 24 | (uint32_t)header[1] << 16 | (uint32_t)header[2] << 8 | header[3]);
}

static PyObject *payload(const unsigned char *header, Py_ssize_t length)
{
    return PyBytes_FromStringAndSize((const char *)header + HEADER_BYTES, length);
}

PyObject *sole(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 2 || !PyLong_CheckExact(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "sole takes a chunk and a limit");
        return NULL;
    }
    Py_buffer chunk;
    if (PyObject_GetBuffer(arguments[0], &chunk, PyBUF_SIMPLE) < 0)
        return NULL;
    PyObject *found = Py_NewRef(Py_None);
    if (chunk.len > HEADER_BYTES) {
        Py_ssize_t length = announced(chunk.buf);
        if (length == chunk.len - HEADER_BYTES && is_number(arguments[1], length, INT64_MAX)) {
            PyObject *frame = payload(chunk.buf, length);
            Py_XSETREF(found, frame == NULL ? NULL : PyTuple_Pack(1, frame));
            Py_XDECREF(frame);
        }
    }
    PyBuffer_Release(&chunk);
    return found;
}

typedef struct {
    PyObject_HEAD
    PyObject *reader; /* NULL when it is over */
    PyObject *view;
    Py_buffer chunk;
    Py_ssize_t position;
    PyObject *rest; /* the pure code's iterator, or NULL */
} Cut;

static PyTypeObject *cut_type;

PyObject *cut(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "cut takes a reader and a chunk");
        return NULL;
    }
    Cut *self = PyObject_GC_New(Cut, cut_type);
    if (self == NULL)
        return NULL;
    self->position = 0;
    self->rest = NULL;
    self->reader = self->view = NULL;
    if (PyObject_GetBuffer(arguments[1], &self->chunk, PyBUF_SIMPLE) < 0) {
        self->chunk.obj = NULL;
        Py_DECREF(self);
        return NULL;
    }
    self->reader = Py_NewRef(arguments[0]);
    self->view = Py_NewRef(arguments[1]);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static int cut_traverse(Cut *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->reader);
    Py_VISIT(self->view);
    Py_VISIT(self->rest);
    return 0;
}

static int cut_clear(Cut *self)
{
    PyBuffer_Release(&self->chunk);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->view);
    Py_CLEAR(self->rest);
    return 0;
}

static void cut_dealloc(Cut *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    cut_clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

/* It is over: the reader is told how much of the chunk was used. */
static int cut_end(Cut *self)
{
    if (self->reader == NULL)
        return 0;
    PyObject *reader = Py_NewRef(self->reader), *used = PyLong_FromSsize_t(self->position);
    cut_clear(self);
    int failed = used == NULL ? -1 : PyObject_SetAttr(reader, names.used, used);
    Py_XDECREF(used);
    Py_DECREF(reader);
    return failed;
}

/* The same after an error, which stays. */
static PyObject *cut_fail(Cut *self)
{
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    if (cut_end(self) < 0)
        PyErr_Clear();
    PyErr_Restore(type, error, trace);
    return NULL;
}

static PyObject *cut_next(Cut *self)
{
    if (self->rest != NULL)
        return Py_TYPE(self->rest)->tp_iternext(self->rest);
    if (self->reader == NULL)
        return NULL;
    Py_ssize_t left = self->chunk.len - self->position;
    if (left == 0) {
        cut_end(self);
        return NULL;
    }
    if (left >= HEADER_BYTES) {
        const unsigned char *header = (const unsigned char *)self->chunk.buf + self->position;
        Py_ssize_t length = announced(header);
        if (length <= left - HEADER_BYTES) {
            Py_ssize_t limit = number_of(self->reader, names.limit, PY_SSIZE_T_MAX);
            if (limit < 0)
                return cut_fail(self);
            if (length <= limit) {
                self->position += HEADER_BYTES + length;
                PyObject *frame = payload(header, length);
                return frame == NULL ? cut_fail(self) : frame;
            }
        }
    }
    PyObject *arguments[] = {self->reader, self->view, PyLong_FromSsize_t(self->position)};
    PyObject *rest = arguments[2] == NULL ? NULL : PyObject_Vectorcall(bound.cut, arguments, 3, NULL);
    Py_XDECREF(arguments[2]);
    if (rest != NULL && !PyIter_Check(rest)) {
        Py_CLEAR(rest);
        PyErr_SetString(PyExc_TypeError, "the pure code gave no iterator");
    }
    if (rest == NULL)
        return cut_fail(self);
    cut_clear(self);
    self->rest = rest;
    return Py_TYPE(rest)->tp_iternext(rest);
}

/* As `generator.close`: what was not taken stays in the chunk. */
static PyObject *cut_close(Cut *self, PyObject *nothing)
{
    (void)nothing;
    if (self->rest != NULL)
        return PyObject_CallMethodNoArgs(self->rest, names.close);
    if (cut_end(self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef cut_methods[] = {
    {"close", (PyCFunction)cut_close, METH_NOARGS, "Leave what has not been taken."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot cut_slots[] = {
    {Py_tp_doc, "The frames of a chunk."},
    {Py_tp_traverse, cut_traverse},
    {Py_tp_clear, cut_clear},
    {Py_tp_dealloc, cut_dealloc},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, cut_next},
    {Py_tp_methods, cut_methods},
    {0, NULL},
};

static PyType_Spec cut_spec = {
    .name = "capnet.native.core.Cut",
    .basicsize = sizeof(Cut),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = cut_slots,
};

int add_cut(void)
{
    cut_type = (PyTypeObject *)PyType_FromSpec(&cut_spec);
    return cut_type == NULL ? -1 : 0;
}
