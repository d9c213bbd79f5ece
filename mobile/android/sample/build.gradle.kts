plugins {
    id("com.android.application") version "8.7.3"
    kotlin("android") version "2.2.0"
}

android {
    namespace = "io.causality.sample"
    compileSdk = 35

    defaultConfig {
        applicationId = "io.causality.sample"
        minSdk = 21
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
        manifestPlaceholders["causalityHost"] = providers.gradleProperty("causality.host").getOrElse("")
        manifestPlaceholders["causalityWriteKey"] = providers.gradleProperty("causality.writeKey").getOrElse("")
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }

    kotlinOptions {
        jvmTarget = "1.8"
    }
}

dependencies {
    implementation("io.github.causality-project:causality-android:0.1.0")
}
