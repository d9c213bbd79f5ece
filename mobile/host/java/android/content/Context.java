package android.content;

/** Stands for Android's class, which the generated binding names, where there is no Android. */
public abstract class Context {}
